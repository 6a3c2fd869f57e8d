//go:build !linux

package relay

// What the kernel holds of a connection is not known here.

func (c *Conn) unread() int             { return 0 }
func (c *Conn) unacknowledged() int     { return 0 }
func (c *Conn) isAway() (away, ok bool) { return false, false }
func (c *Conn) keepInKernel(int)        {}
