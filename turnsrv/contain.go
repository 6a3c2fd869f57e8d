package turnsrv

// stopped counts and logs a panic that ended the allocation and connection of the client in whose path it was. The
// deferred function that recovers calls it. What cannot be stopped is a panic in pion/turn's own loop and timers, which
// handle nothing but Allocates and Refreshes that package control has rebuilt, and in the goroutines that pion/dtls
// starts itself.
func (s *Server) stopped(cause any) {
	s.panics.Stopped(s.log, "a client was cut off by what should never fail: please report this", cause)
}

// Panics returns how many panics were stopped before they could end the process: always 0, but for a mistake of ours.
func (s *Server) Panics() uint64 { return s.panics.Count() }
