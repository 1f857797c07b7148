package invoicebox

import (
	"context"
	"net"
	"strings"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// isLocalhost reports whether a name is that of this machine.
func isLocalhost(host string) bool {
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}

// resolveLocalhost dials the loopback addresses for the name localhost: it may
// be used without TLS, so no resolver and no hosts file decides where it leads.
func resolveLocalhost(dial dialFunc) dialFunc {
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
