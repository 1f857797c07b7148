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
	// slowDial is the time after which an attempt to connect without an answer counts as
	// failed.
	slowDial = time.Second
	// recentDial is how old a failed attempt may be to explain an error.
	recentDial = 10 * time.Second
	// maxAttempts bounds the addresses that are stored.
	maxAttempts = 1000
)

// dialAttempts are the addresses to which the last attempt to connect failed, or has no
// answer yet.
type dialAttempts struct {
	mu        sync.Mutex
	byAddress map[string]dialAttempt
}

type dialAttempt struct {
	began, ended time.Time
	err          error
}

// wrapDial records the result of every attempt to connect.
func (a *dialAttempts) wrapDial(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		a.begin(address)
		cluster, err := dial(ctx, network, address)
		a.end(ctx, address, err)
		return cluster, err
	}
}

func (a *dialAttempts) begin(address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.byAddress[address]; known || len(a.byAddress) >= maxAttempts {
		return
	}
	if a.byAddress == nil {
		a.byAddress = map[string]dialAttempt{}
	}
	a.byAddress[address] = dialAttempt{began: time.Now()}
}

func (a *dialAttempts) end(ctx context.Context, address string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, known := a.byAddress[address]
	switch {
	case err == nil, errors.Is(err, errTrackerClosed):
		delete(a.byAddress, address)
	case !known:
	case last.err == nil && errors.Is(ctx.Err(), context.Canceled):
		delete(a.byAddress, address) // the caller has given up; the address may be reachable
	default:
		a.byAddress[address] = dialAttempt{began: last.began, ended: time.Now(), err: err}
	}
}

// failed lists the addresses that could not be reached since a time, and the first
// one's error.
func (a *dialAttempts) failed(since time.Time) (addresses []string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	for address, last := range a.byAddress {
		if last.err == nil && now.Sub(last.began) >= slowDial || last.err != nil && !last.ended.Before(since) {
			addresses = append(addresses, address)
		}
	}
	slices.Sort(addresses)
	if len(addresses) > 0 {
		if err = a.byAddress[addresses[0]].err; err == nil {
			err = fmt.Errorf("dial %s: no answer", addresses[0])
		}
	}
	return addresses, err
}

// ExplainUnreachable adds to err the addresses to which no connection could be opened
// recently, because a time-out names no address. If all addresses were reached it returns
// err.
func (c *Cluster) ExplainUnreachable(err error) error {
	return c.explainUnreachable(err, time.Now().Add(-recentDial))
}

func (c *Cluster) explainUnreachable(err error, since time.Time) error {
	if _, explained := errors.AsType[*Error](err); err == nil || explained {
		return err
	}
	addresses, cause := c.dialAttempts.failed(since)
	if len(addresses) == 0 {
		return c.explainClosed(err)
	}
	class := ClassOf(err)
	switch {
	case class == Timeout, errors.Is(err, cause), strings.Contains(err.Error(), cause.Error()):
		class = Unreachable
	case class != Unreachable && class != Leader:
		return err
	}
	advertised := slices.DeleteFunc(slices.Clone(addresses), func(a string) bool { return slices.Contains(c.brokers, a) })
	words := "broker " + joinAddresses(addresses) + " cannot be reached: check the address and whether the broker runs"
	if len(advertised) > 0 {
		words = "the brokers advertise " + joinAddresses(advertised) + ", which cannot be reached from here: check advertised.listeners and whether that broker runs"
	}
	if !strings.Contains(err.Error(), cause.Error()) {
		err = fmt.Errorf("%w; the last attempt: %w", err, cause)
	}
	return &Error{Class: class, Message: words, Err: err}
}

// explainClosed explains a closed connection to a cluster that has answered requests
// before: then the settings of TLS and SASL are right.
func (c *Cluster) explainClosed(err error) error {
	closed := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if !closed || !c.answered.Load() || ClassOf(err) != Unreachable {
		return err
	}
	return &Error{Class: Unreachable, Message: "the broker closed the connection: it is going down, or it ended the session", Err: err}
}

// joinAddresses lists at most three addresses.
func joinAddresses(addresses []string) string {
	if n := len(addresses) - 3; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(addresses[:3], ", "), n)
	}
	return strings.Join(addresses, ", ")
}
