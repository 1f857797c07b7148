// Package freeport reserves TCP ports on loopback for the servers of tests.
//
// A port that is free when a test looks can be taken before its server listens: by another
// test, in this process or another one, or by an outgoing connection. The test then talks
// to a stranger's server. A port of this package is taken by neither: it lies below the range
// that systems use for outgoing connections, and belongs to one test on the machine.
package freeport

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// first and pairs are the range: 12,000 ports from 20,000 on. Linux takes ports for outgoing connections
// from 32,768 on, other systems from 49,152 on.
const first, pairs, tries = 20_000, 6_000, 1_000

// A Port is reserved until it is closed or the process ends.
type Port struct {
	Number int
	// guard listens at the next port. Who reserves the same port fails to listen there.
	guard net.Listener
}

// Close ends the reservation.
func (p *Port) Close() error { return p.guard.Close() }

// Reserve reserves a port on which nothing listens.
func Reserve(ctx context.Context) (*Port, error) {
	for range tries {
		number := first + 2*rand.IntN(pairs) //nolint:gosec // a port need not be unguessable
		guard, err := listen(ctx, number+1)
		if err != nil {
			continue
		}
		server, err := listen(ctx, number)
		if err == nil {
			return &Port{Number: number, guard: guard}, server.Close()
		}
		if err := guard.Close(); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("freeport: no free port")
}

// For reserves a port until the test ends.
func For(t testing.TB) int {
	t.Helper()
	p, err := Reserve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p.Number
}

// Address is the loopback address of a port that is reserved until the test ends.
func Address(t testing.TB) string {
	t.Helper()
	return address(For(t))
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func listen(ctx context.Context, port int) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", address(port))
}
