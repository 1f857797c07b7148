package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
)

// ErrPlaintextPassword says that SASL PLAIN would send the password without
// encryption over a network.
var ErrPlaintextPassword = errors.New("kafka: SASL PLAIN without TLS sends the password in the clear")

// plaintext is what a configuration sends without TLS, and where to.
type plaintext struct {
	none     bool // TLS is set
	password bool // SASL PLAIN

	mu        sync.Mutex
	addresses []string // beyond loopback: configured, or advertised and dialled
}

func newPlaintext(c Config) *plaintext {
	p := &plaintext{none: c.TLS != nil, password: c.SASL != nil && c.SASL.Mechanism == Plain}
	for _, b := range c.Brokers {
		p.note(b)
	}
	return p
}

func (p *plaintext) note(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.none && !loopback(address) && !slices.Contains(p.addresses, address) && len(p.addresses) < maxAttempts {
		p.addresses = append(p.addresses, address)
		slices.Sort(p.addresses)
	}
}

// refuses returns the error for an address that must not get the password.
func (p *plaintext) refuses(address string) error {
	if p.none || !p.password || loopback(address) {
		return nil
	}
	return fmt.Errorf("%w to %s: set --kafka-tls, or use SCRAM; PLAIN without TLS is for loopback addresses only", ErrPlaintextPassword, address)
}

// through opens no connection over which the password would go in the clear:
// brokers on loopback may advertise another address.
func (p *plaintext) through(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := p.refuses(address); err != nil {
			return nil, err
		}
		p.note(address)
		return dial(ctx, network, address)
	}
}

// Plaintext names the brokers beyond loopback to which nothing is encrypted; ""
// for none. Brokers' advertised addresses are known after the first requests.
func (c *Conn) Plaintext() string {
	c.clear.mu.Lock()
	defer c.clear.mu.Unlock()
	return listed(c.clear.addresses)
}

// loopback reports whether host:port is this machine by its form. No resolver
// is asked: its answer can change.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return isLocalhost(host) || ip != nil && ip.IsLoopback()
}

func isLocalhost(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// local resolves the name localhost to the loopback addresses itself, because
// it counts as loopback: a resolver or a hosts file may say otherwise.
func local(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || !isLocalhost(host) {
			return dial(ctx, network, address)
		}
		conn, err := dial(ctx, network, net.JoinHostPort("127.0.0.1", port))
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
		conn, other := dial(ctx, network, net.JoinHostPort("::1", port))
		if other != nil {
			return nil, err
		}
		return conn, nil
	}
}
