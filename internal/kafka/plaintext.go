package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"invoicebox-worker/internal/loopback"
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
	if !p.encrypted && !loopback.IsHostPort(address) && !slices.Contains(p.addresses, address) && len(p.addresses) < maxAttempts {
		p.addresses = append(p.addresses, address)
		slices.Sort(p.addresses)
	}
}

// check returns the error for an address to which the password must not be sent.
func (p *plaintextGuard) check(address string) error {
	if p.encrypted || !p.sendsPassword || loopback.IsHostPort(address) {
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
