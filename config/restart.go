package config

// Changed names the keys whose values differ between a and b, in the order of the file.
func Changed(a, b *Config) []string {
	var names []string
	for _, k := range Keys() {
		if !k.same(a, b) {
			names = append(names, k.Name)
		}
	}
	return names
}

// Keep returns next as a process that was started with old can apply it: what needs a restart is as in old. stays names
// the keys that differ and stay as they were, in the order of the file.
func Keep(old, next *Config) (c *Config, stays []string) {
	kept := *next
	for _, k := range Keys() {
		if k.Restart && !k.same(old, next) {
			k.copy(&kept, old)
			stays = append(stays, k.Name)
		}
	}
	return &kept, stays
}
