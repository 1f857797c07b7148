package loopback

import "testing"

func TestIsHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST.": true, "127.0.0.1": true, "127.8.0.1": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.example": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "127.1": false, "2130706433": false, "localhost..": false,
	} {
		if got := IsHost(host); got != want {
			t.Errorf("%q: %t", host, got)
		}
	}
}

func TestIsHostPort(t *testing.T) {
	for address, want := range map[string]bool{"localhost:1": true, "[::1]:1": true, "127.0.0.1": false, ":1": false, "example.com:1": false} {
		if got := IsHostPort(address); got != want {
			t.Errorf("%q: %t", address, got)
		}
	}
}
