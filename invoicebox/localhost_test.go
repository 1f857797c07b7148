package invoicebox

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
)

// Without TLS the name localhost leads to loopback addresses, whatever a
// resolver says; other names are left to the resolver.
func TestTransport_Localhost(t *testing.T) {
	for address, want := range map[string][]string{
		"localhost:80":         {"127.0.0.1:80", "[::1]:80"},
		"LOCALHOST.:80":        {"127.0.0.1:80", "[::1]:80"},
		"localhost.example:80": {"localhost.example:80"},
		"127.0.0.1:80":         {"127.0.0.1:80"},
	} {
		var dialled []string
		transport := NewTransport(TransportOptions{Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			return nil, errors.New("refused")
		}})
		if _, err := transport.dial(t.Context(), target{address: address}); err == nil || !slices.Equal(dialled, want) {
			t.Errorf("%s: dialled %v, %v", address, dialled, err)
		}
		transport.Close()
	}
}
