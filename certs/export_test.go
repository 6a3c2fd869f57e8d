package certs

// Reload looks for a newer pair now rather than at the next poll, and returns why there is none to use.
func (k *Keeper) Reload() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.refresh()
	return k.cause
}
