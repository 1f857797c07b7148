package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// slowDial is how long an address may leave a connection attempt without an
	// answer before the attempt counts as failed.
	slowDial = time.Second
	// recentDial is how old a failed attempt may be to explain an error.
	recentDial = 10 * time.Second
	// maxAttempts bounds the addresses that are remembered.
	maxAttempts = 1000
)

// attempts are the addresses to which the last attempt to connect failed, or
// has no answer yet.
type attempts struct {
	mu   sync.Mutex
	list map[string]attempt
}

type attempt struct {
	began, ended time.Time
	err          error
}

// through notes what becomes of every attempt to connect.
func (a *attempts) through(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		a.begin(address)
		conn, err := dial(ctx, network, address)
		a.end(ctx, address, err)
		return conn, err
	}
}

func (a *attempts) begin(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.list[address]; known || len(a.list) >= maxAttempts {
		return
	}
	if a.list == nil {
		a.list = map[string]attempt{}
	}
	a.list[address] = attempt{began: time.Now()}
}

func (a *attempts) end(ctx context.Context, address string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, known := a.list[address]
	switch {
	case err == nil, errors.Is(err, errCut):
		delete(a.list, address)
	case !known:
	case last.err == nil && errors.Is(ctx.Err(), context.Canceled):
		delete(a.list, address) // the caller left; that says nothing of the address
	default:
		a.list[address] = attempt{began: last.began, ended: time.Now(), err: err}
	}
}

// failed lists the addresses that could not be reached since a time, and why.
func (a *attempts) failed(since time.Time) (addresses []string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for address, last := range a.list {
		if last.err == nil && now.Sub(last.began) >= slowDial || last.err != nil && !last.ended.Before(since) {
			addresses = append(addresses, address)
		}
	}
	slices.Sort(addresses)
	if len(addresses) > 0 {
		if err = a.list[addresses[0]].err; err == nil {
			err = fmt.Errorf("dial %s: no answer", addresses[0])
		}
	}
	return addresses, err
}

// Unreached explains err by the addresses to which no connection could be
// opened lately: a time-out, and an answer that lacks a broker's part, do not
// name what they waited for. Where all addresses were reached it returns err.
func (c *Conn) Unreached(err error) error {
	return c.unreached(err, time.Now().Add(-recentDial))
}

func (c *Conn) unreached(err error, since time.Time) error {
	if _, explained := errors.AsType[*Fault](err); err == nil || explained {
		return err
	}
	addresses, cause := c.attempts.failed(since)
	if len(addresses) == 0 {
		return c.broken(err)
	}
	class := ClassOf(err)
	switch {
	case class == Timeout, errors.Is(err, cause), strings.Contains(err.Error(), cause.Error()):
		class = Unreachable
	case class != Unreachable && class != Leader:
		return err
	}
	advertised := slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return slices.Contains(c.brokers, a) })
	words := "broker " + listed(addresses) + " cannot be reached: check the address and whether the broker runs"
	if len(advertised) > 0 {
		words = "the brokers advertise " + listed(advertised) + ", which cannot be reached from here: check advertised.listeners and whether that broker runs"
	}
	if !strings.Contains(err.Error(), cause.Error()) {
		err = fmt.Errorf("%w; the last attempt: %w", err, cause)
	}
	return &Fault{Class: class, Words: words, Err: err}
}

// broken explains a closed connection to a cluster that has answered requests
// before: its listener's TLS, SASL and password are then right.
func (c *Conn) broken(err error) error {
	closed := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if !closed || !c.answered.Load() || ClassOf(err) != Unreachable {
		return err
	}
	return &Fault{Class: Unreachable, Words: "the broker closed the connection: it is going down, or it ended the session", Err: err}
}

// listed names at most three addresses.
func listed(addresses []string) string {
	if n := len(addresses) - 3; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(addresses[:3], ", "), n)
	}
	return strings.Join(addresses, ", ")
}
