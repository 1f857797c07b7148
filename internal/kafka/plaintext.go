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

// ErrPlaintextPassword reports that SASL PLAIN would send the password over a network
// without encryption.
var ErrPlaintextPassword = errors.New("kafka: SASL PLAIN without TLS sends the password unencrypted")

// A plaintextGuard records what a configuration sends without TLS, and to which addresses.
type plaintextGuard struct {
	encrypted     bool // TLS is set
	sendsPassword bool // SASL PLAIN

	mu        sync.Mutex
	addresses []string // beyond loopback: configured, or advertised and dialled
}

func newPlaintextGuard(c Config) *plaintextGuard {
	p := &plaintextGuard{encrypted: c.TLS != nil, sendsPassword: c.SASL != nil && c.SASL.Mechanism == Plain}
	for _, b := range c.Brokers {
		p.record(b)
	}
	return p
}

func (p *plaintextGuard) record(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.encrypted && !isLoopback(address) && !slices.Contains(p.addresses, address) && len(p.addresses) < maxAttempts {
		p.addresses = append(p.addresses, address)
		slices.Sort(p.addresses)
	}
}

// check returns the error for an address to which the password must not be sent.
func (p *plaintextGuard) check(address string) error {
	if p.encrypted || !p.sendsPassword || isLoopback(address) {
		return nil
	}
	return fmt.Errorf("%w to %s: set --kafka-tls, or use SCRAM; PLAIN without TLS is for loopback addresses only", ErrPlaintextPassword, address)
}

// wrapDial refuses connections over which the password would be sent unencrypted:
// brokers on loopback may advertise another address.
func (p *plaintextGuard) wrapDial(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if err := p.check(address); err != nil {
			return nil, err
		}
		p.record(address)
		return dial(ctx, network, address)
	}
}

// PlaintextBrokers names the brokers beyond loopback to which connections are not
// encrypted; "" if there are none. Advertised addresses are known after the first
// requests.
func (c *Cluster) PlaintextBrokers() string {
	c.plaintext.mu.Lock()
	defer c.plaintext.mu.Unlock()
	return joinAddresses(c.plaintext.addresses)
}

// isLoopback reports whether host:port is this machine by its form. It uses no resolver,
// because the result can change.
func isLoopback(address string) bool {
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

// resolveLocalhost resolves localhost to the loopback addresses itself, because the name
// counts as loopback, and a resolver or hosts file may have another address for it.
func resolveLocalhost(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || !isLocalhost(host) {
			return dial(ctx, network, address)
		}
		cluster, err := dial(ctx, network, net.JoinHostPort("127.0.0.1", port))
		if err == nil || ctx.Err() != nil {
			return cluster, err
		}
		cluster, other := dial(ctx, network, net.JoinHostPort("::1", port))
		if other != nil {
			return nil, err
		}
		return cluster, nil
	}
}
