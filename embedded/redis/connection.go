package redis

import (
	"fmt"
	"strconv"
	"strings"
)

// version is that of the Redis that the offered commands behave like.
const version = "7.2.0"

func auth(c *client, _ string, args [][]byte) {
	user, password := []byte("default"), args[len(args)-1]
	if len(args) == 2 {
		user = args[0]
	} else if c.s.cfg.Password == "" {
		c.fail("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
		return
	}
	if c.s.cfg.Password == "" && string(user) == "default" || c.login(user, password) {
		c.ok()
	}
}

// hello is HELLO [2|3 [AUTH user password] [SETNAME name]].
func hello(c *client, _ string, args [][]byte) {
	resp3, name := c.resp3.Load(), c.name
	if len(args) > 0 {
		switch string(args[0]) {
		case "2", "3":
			resp3 = args[0][0] == '3'
		default:
			c.fail("NOPROTO unsupported protocol version")
			return
		}
		args = args[1:]
	}
	for len(args) > 0 {
		switch option := strings.ToUpper(string(args[0])); {
		case option == "AUTH" && len(args) >= 3:
			if (c.s.cfg.Password != "" || string(args[1]) != "default") && !c.login(args[1], args[2]) {
				return
			}
			args = args[3:]
		case option == "SETNAME" && len(args) >= 2 && validClientName(args[1]):
			name, args = string(args[1]), args[2:]
		default:
			c.fail("ERR Syntax error in HELLO option " + strconv.QuoteToASCII(option))
			return
		}
	}
	if !c.authenticated {
		c.fail("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	c.name = name
	c.resp3.Store(resp3)
	c.peer.Resp3 = resp3
	proto := int64(2)
	if resp3 {
		proto = 3
	}
	b := appendMap(nil, 7, resp3)
	b = appendBulk(appendBulk(b, "server"), "redis")
	b = appendBulk(appendBulk(b, "version"), version)
	b = appendInt(appendBulk(b, "proto"), proto)
	b = appendInt(appendBulk(b, "id"), c.id)
	b = appendBulk(appendBulk(b, "mode"), "standalone")
	b = appendBulk(appendBulk(b, "role"), "master")
	b = appendArray(appendBulk(b, "modules"), 0)
	c.send(b)
}

func quit(c *client, _ string, _ [][]byte) {
	c.leaving = true
	c.ok()
}

func ping(c *client, _ string, args [][]byte) {
	text := ""
	if len(args) > 0 {
		text = string(args[0])
	}
	switch {
	case c.subs.count() > 0 && !c.resp3.Load():
		c.send(appendBulk(appendBulk(appendArray(nil, 2), "pong"), text))
	case len(args) == 0:
		c.send(appendSimple(nil, "PONG"))
	default:
		c.bulk(text)
	}
}

func echo(c *client, _ string, args [][]byte) { c.bulk(string(args[0])) }

func selectDB(c *client, name string, args [][]byte) {
	n, err := strconv.Atoi(string(args[0]))
	if err != nil || n < 0 || n >= databases {
		c.fail("ERR DB index is out of range")
		return
	}
	c.db = n
	c.dispatch(name, [][]byte{[]byte(strconv.Itoa(n))}, effect{})
}

func clientCommand(c *client, _ string, args [][]byte) {
	sub := strings.ToUpper(string(args[0]))
	switch {
	case sub == "ID" && len(args) == 1:
		c.send(appendInt(nil, c.id))
	case sub == "SETINFO" && len(args) == 3, // a library's name and version: nobody asks for them
		sub == "NO-EVICT" && len(args) == 2, sub == "NO-TOUCH" && len(args) == 2:
		c.ok()
	case sub == "SETNAME" && len(args) == 2:
		if !validClientName(args[1]) {
			c.fail("ERR Client names cannot contain spaces, newlines or special characters.")
			return
		}
		c.name = string(args[1])
		c.ok()
	case sub == "GETNAME" && len(args) == 1 && c.name == "":
		c.null()
	case sub == "GETNAME" && len(args) == 1:
		c.bulk(c.name)
	default:
		c.fail("ERR this CLIENT subcommand is not offered by the embedded Redis")
	}
}

func validClientName(name []byte) bool {
	for _, b := range name {
		if b < '!' || b > '~' {
			return false
		}
	}
	return len(name) <= 256
}

// describe: redis-cli asks for documentation at its start, and does without.
func describe(c *client, _ string, _ [][]byte) { c.send(appendArray(nil, 0)) }

func now(c *client, _ string, _ [][]byte) {
	t := c.s.cfg.Now()
	b := appendBulk(appendArray(nil, 2), strconv.FormatInt(t.Unix(), 10))
	c.send(appendBulk(b, strconv.Itoa(t.Nanosecond()/1000)))
}

// info answers the sections that client libraries and people look at.
func info(c *client, _ string, args [][]byte) {
	s := c.s
	st := s.Stats()
	sections := []struct{ name, text string }{
		{"server", fmt.Sprintf("redis_version:%s\r\nredis_mode:standalone\r\ntcp_port:%d\r\nuptime_in_seconds:%d\r\n",
			version, s.Addr().Port, int(s.cfg.Now().Sub(s.started).Seconds()))},
		{"clients", fmt.Sprintf("connected_clients:%d\r\nmaxclients:%d\r\n", st.Clients, s.cfg.MaxConns)},
		{"memory", fmt.Sprintf("used_memory:%d\r\nmaxmemory:%d\r\nmaxmemory_policy:noeviction\r\n", st.Memory, s.cfg.MaxMemory)},
		{"persistence", "loading:0\r\n"},
		{"stats", fmt.Sprintf("total_connections_received:%d\r\ntotal_commands_processed:%d\r\nrejected_connections:%d\r\n",
			st.Connections, st.Commands, st.Refused["full"])},
		{"replication", "role:master\r\nconnected_slaves:0\r\n"},
		{"keyspace", s.store.keyspace()},
	}
	var b strings.Builder
	for _, sec := range sections {
		if wanted(sec.name, args) {
			fmt.Fprintf(&b, "# %s%s\r\n%s\r\n", strings.ToUpper(sec.name[:1]), sec.name[1:], sec.text)
		}
	}
	c.bulk(b.String())
}

func wanted(section string, asked [][]byte) bool {
	for _, a := range asked {
		switch strings.ToLower(string(a)) {
		case section, "all", "default", "everything":
			return true
		}
	}
	return len(asked) == 0
}
