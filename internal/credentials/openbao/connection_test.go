package openbao

import (
	"net"
	"net/http"
	"testing"
)

// Without TLS the token is sent to this machine only, whatever proxy the environment names
// and whatever address a resolver has for the name localhost.
func TestConnection_Plaintext(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:3128")
	for _, name := range []string{"localhost", "LOCALHOST", "localhost.", "127.0.0.1"} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		_, port, _ := net.SplitHostPort(l.Addr().String())
		client, err := newClient(Config{Address: "http://" + net.JoinHostPort(name, port)})
		if err != nil {
			t.Fatal(err)
		}
		transport, ok := client.CloneConfig().HttpClient.Transport.(*http.Transport)
		if !ok || transport.Proxy != nil {
			t.Fatalf("%s: a proxy can get the token", name)
		}
		conn, err := transport.DialContext(t.Context(), "tcp", net.JoinHostPort(name, port))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = conn.Close()
	}
}
