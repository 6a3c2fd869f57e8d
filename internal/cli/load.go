package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/app"
)

// load reads the configuration, checked by the parts that know more of their settings than their shape.
func load(c *cli.Context, opts ...config.Option) (*config.Config, error) {
	file, err := configFile(c)
	if err != nil {
		return nil, err
	}
	return app.Load(file, opts...)
}
