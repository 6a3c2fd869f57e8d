package app

import (
	"errors"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
)

// Load reads the configuration from a file, which may be empty for none, and has it checked by the parts that know more of
// their settings than their shape.
func Load(file string, opts ...config.Option) (*config.Config, error) {
	return config.Load(file, append(opts, config.WithCheck(checkPolicy))...)
}

// checkPolicy brings the mistakes that the policies find to their lines in the file.
func checkPolicy(cfg *config.Config) []*config.Error {
	var out []*config.Error
	for _, err := range each(policy.Check(PolicySettings(cfg.Hooks))) {
		var key *policy.KeyError
		if errors.As(err, &key) {
			out = append(out, &config.Error{Key: key.Key, Because: key.Because, Err: key.Err})
		} else {
			out = append(out, &config.Error{Err: err})
		}
	}
	return out
}

// each takes joined errors apart. policy.Check joins its own even if there is only one.
func each(err error) []error {
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		return all.Unwrap()
	}
	return nil
}
