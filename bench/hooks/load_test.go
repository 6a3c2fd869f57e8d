package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// request is a webhook call as axios writes it, whole.
func request(path, body string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nAccept: application/json, text/plain, */*\r\nContent-Type: application/json\r\n"+
		"User-Agent: axios/1.8.2\r\nContent-Length: %d\r\nAccept-Encoding: gzip, compress, deflate, br\r\nHost: 127.0.0.1:8083\r\nConnection: keep-alive\r\n\r\n%s",
		path, len(body), body)
}

// load posts requests in turn over conns kept-alive connections for as long as lasting, and counts the answers. It does
// as little as it can: the program that is measured needs the cores.
func load(ctx context.Context, address string, requests [][]byte, conns int, lasting time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, lasting)
	defer cancel()
	var answers atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for i := range conns {
		group.Go(func() error {
			n, err := caller(ctx, address, requests, i)
			answers.Add(n)
			return err
		})
	}
	err := group.Wait()
	return answers.Load(), err
}

// caller is one connection.
func caller(ctx context.Context, address string, requests [][]byte, offset int) (answers int64, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	buf := make([]byte, 64<<10)
	for i := offset; ctx.Err() == nil; i++ {
		if _, err := conn.Write(requests[i%len(requests)]); err != nil {
			return answers, err
		}
		if err := readAnswer(conn, buf); err != nil {
			return answers, err
		}
		answers++
	}
	return answers, nil
}

var errAnswer = errors.New("not the answer of a webhook")

// readAnswer reads one answer of 200 or 204 that has a length.
func readAnswer(conn net.Conn, buf []byte) error {
	n, end := 0, -1
	for end < 0 {
		got, err := conn.Read(buf[n:])
		if err != nil {
			return err
		}
		n += got
		end = bytes.Index(buf[:n], []byte("\r\n\r\n"))
	}
	head := string(buf[:end])
	switch status, _ := strconv.Atoi(head[len("HTTP/1.1 "):len("HTTP/1.1 200")]); status {
	case http.StatusNoContent:
		return nil
	case http.StatusOK:
	default:
		return fmt.Errorf("%w: %s", errAnswer, head)
	}
	_, rest, ok := strings.Cut(head, "Content-Length: ")
	rest, _, _ = strings.Cut(rest, "\r")
	length, err := strconv.Atoi(rest)
	if !ok || err != nil || end+4+length > len(buf) {
		return fmt.Errorf("%w: %s", errAnswer, head)
	}
	for n < end+4+length {
		got, err := conn.Read(buf[n:])
		if err != nil {
			return err
		}
		n += got
	}
	return nil
}
