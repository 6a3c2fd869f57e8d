// Package systemd speaks the two protocols that a service has with systemd, or with whatever supervises in its manner:
// notification (sd_notify(3)) and the handing over of sockets (sd_listen_fds(3)). Without such a supervisor both do
// nothing.
package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// sendTimeout is how long a message may wait for a supervisor that does not read.
const sendTimeout = time.Second

// leastWatchdog is the shortest time within which a process can be asked to answer itself twice.
const leastWatchdog = 100 * time.Millisecond

// Notifier tells the supervisor of the service's state. A nil Notifier tells nobody. Its methods are safe for
// concurrent use.
type Notifier struct {
	address  *net.UnixAddr
	watchdog time.Duration
}

// NewNotifier reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and removes them, so that no child takes itself for
// the service. It is nil if no supervisor listens. Call it once, before there are goroutines that read the environment.
func NewNotifier() (*Notifier, error) {
	socket, usec, pid := take("NOTIFY_SOCKET"), take("WATCHDOG_USEC"), take("WATCHDOG_PID")
	if socket == "" {
		return nil, nil
	}
	if socket[0] != '/' && socket[0] != '@' || len(socket) < 2 {
		return nil, fmt.Errorf("NOTIFY_SOCKET is %q: it must be a path, or @ and a name; unset it where no systemd is", socket)
	}
	n := &Notifier{address: &net.UnixAddr{Name: socket, Net: "unixgram"}}
	if usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n, nil
	}
	every, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || every < leastWatchdog.Microseconds() || every > int64(1<<62)/1000 {
		return nil, fmt.Errorf("WATCHDOG_USEC is %q: it must be a number of microseconds, at least 100000", usec)
	}
	n.watchdog = time.Duration(every) * time.Microsecond
	return n, nil
}

func take(name string) string {
	v := os.Getenv(name)
	_ = os.Unsetenv(name)
	return v
}

// Watchdog is how long the supervisor waits for Alive before it kills the service; 0: it does not.
func (n *Notifier) Watchdog() time.Duration {
	if n == nil {
		return 0
	}
	return n.watchdog
}

// Ready says that the service serves, after its start and after [Notifier.Reloading]. status is for a human, in one
// line.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", statusLine(status)) }

// Reloading says that the configuration is being applied. Ready must follow.
func (n *Notifier) Reloading() error {
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
}

// Stopping says that the service is ending and asks for this much time. It may be called again to ask for more.
func (n *Notifier) Stopping(status string, within time.Duration) error {
	return n.send("STOPPING=1", statusLine(status), "EXTEND_TIMEOUT_USEC="+strconv.FormatInt(within.Microseconds(), 10))
}

// Status says in one line how the service is, for a human.
func (n *Notifier) Status(status string) error { return n.send(statusLine(status)) }

// Alive keeps the supervisor from killing the service, for as long as Watchdog says.
func (n *Notifier) Alive() error { return n.send("WATCHDOG=1") }

func statusLine(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }

// send is one message. The socket is opened for each: the supervisor may have been started anew.
func (n *Notifier) send(lines ...string) error {
	if n == nil {
		return nil
	}
	c, err := net.DialUnix(n.address.Net, nil, n.address)
	if err != nil {
		return fmt.Errorf("systemd cannot be notified: %w", err)
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(sendTimeout))
	if _, err := c.Write([]byte(strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("systemd cannot be notified: %w", err)
	}
	return nil
}
