// Package loopback decides whether an address is this machine, by its form. No resolver
// and no hosts file is used, because their results can change: an unencrypted connection
// is permitted only to this machine.
package loopback

import (
	"context"
	"net"
	"net/netip"
	"strings"
)

// A DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// IsLocalhost reports whether a host is the name localhost.
func IsLocalhost(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// IsHost reports whether a host is localhost or a loopback address.
func IsHost(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback() || IsLocalhost(host)
}

// IsHostPort is IsHost for host:port.
func IsHostPort(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && IsHost(host)
}

// WrapDial dials the loopback addresses for the name localhost, because IsHost permits
// that name and a resolver may have another address for it.
func WrapDial(dial DialFunc) DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || !IsLocalhost(host) {
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
