package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A connection beyond this machine is verified, or the opposite was spelled out,
// wherever it was given.
func TestTransport(t *testing.T) {
	home := t.TempDir()
	services := filepath.Join(home, "services")
	if err := os.WriteFile(services, []byte("[far]\nhost=db.example\n[far-weak]\nhost=db.example\nsslmode=require\n[far-safe]\nhost=db.example\nsslmode=verify-full\n[near]\nhost=127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const refused = "sslmode=verify-full"
	for _, tc := range []struct {
		url, mode, service string
		refused            bool
		weak               string // a part of the warning
	}{
		{url: "postgres://u@db.example/d", refused: true},
		{url: "postgresql://u@db.example/d", refused: true},
		{url: "postgres://u@db.example/d?sslmode=", refused: true},
		{url: "postgres://u@db.example/d?sslmode=prefer", refused: true},
		{url: "postgres://u@db.example/d?sslmode=allow", refused: true},
		{url: "postgres://u@db.example/d", mode: "prefer", refused: true},
		{url: "postgres://u@db.example/d", mode: "allow", refused: true},
		{url: "postgres://u@db.example/d?sslmode=prefer", mode: "verify-full", refused: true},
		{url: "postgres://u@10.1.2.3/d", refused: true},
		{url: "postgres://u@[2001:db8::1]/d", refused: true},
		{url: "postgres://u@127.0.0.1,db.example/d", refused: true},
		{url: "postgres://u@db.example,127.0.0.1/d", refused: true},
		{url: "postgres://u@%2Ftmp,db.example/d", refused: true},
		{url: "postgres:///d?host=db.example", refused: true},
		{url: "postgres://u@localhost.example/d", refused: true},
		{url: "postgres://u@0.0.0.0/d", refused: true},
		{url: "postgres:///d", service: "far", refused: true},
		{url: "postgres:///d?service=far", refused: true},
		{url: "postgres:///d?service=near&host=db.example", refused: true},
		{url: "host=db.example dbname=d", refused: true},
		{url: "postgres://u@db.example/d?sslmode=disable", weak: "db.example is not encrypted"},
		{url: "postgres://u@db.example/d", mode: "disable", weak: "is not encrypted"},
		{url: "postgres://u@db.example/d?sslmode=require", weak: "not verified"},
		{url: "postgres://u@db.example/d", mode: "require", weak: "not verified"},
		{url: "postgres:///d", service: "far-weak", weak: "not verified"},
		{url: "postgres://u@db.example/d?sslmode=verify-ca", weak: "not compared"},
		{url: "postgres://u@db.example/d?ssl=true", weak: "not verified"},
		{url: "postgres://u@127.0.0.1,db.example/d?sslmode=disable", weak: "db.example is not encrypted"},
		{url: "postgres://u@db.example/d?sslmode=verify-full"},
		{url: "postgres://u@db.example/d?sslrootcert=system"},
		{url: "postgres://u@db.example/d", mode: "verify-full"},
		{url: "postgres:///d", service: "far-safe"},
		{url: "postgres://u@127.0.0.1/d"},
		{url: "postgres://u@127.3.2.1/d"},
		{url: "postgres://u@[::1]/d"},
		{url: "postgres://u@[::ffff:127.0.0.1]/d"},
		{url: "postgres://u@localhost/d"},
		{url: "postgres://u@LOCALHOST./d"},
		{url: "postgres://u@[::1]:1,[::1]:2/d"},
		{url: "postgres://u@%2Fvar%2Frun%2Fpostgresql/d"},
		{url: "postgres:///d?host=/tmp"},
		{url: "postgres:///d", service: "near"},
	} {
		t.Run(strings.ReplaceAll(strings.Join([]string{tc.url, tc.mode, tc.service}, " "), "/", "|"), func(t *testing.T) {
			for name, value := range map[string]string{"PGSSLMODE": tc.mode, "PGSERVICE": tc.service, "PGSERVICEFILE": services, "PGHOST": "", "HOME": home} {
				t.Setenv(name, value)
			}
			c, err := parse(tc.url)
			if tc.refused {
				if err == nil || !strings.Contains(err.Error(), refused) {
					t.Errorf("it gives %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range transports(c) {
				if h.transport == fallsBack {
					t.Errorf("%s falls back", h.name)
				}
			}
			if weak := Weakness(tc.url); (tc.weak == "") != (weak == "") || !strings.Contains(weak, tc.weak) {
				t.Errorf("the warning is %q", weak)
			}
			if wants := tc.weak != ""; wants != (c.RequireAuth != "") {
				t.Errorf("the accepted ways to log in are %q", c.RequireAuth)
			}
		})
	}
}

// localhost is this machine, whatever a resolver makes of it.
func TestLocalhostIsNotLookedUp(t *testing.T) {
	c, err := parse("postgres://u@localhost/d")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "LocalHost."} {
		if got, err := c.LookupFunc(t.Context(), name); err != nil || !slices.Equal(got, []string{"127.0.0.1", "::1"}) {
			t.Errorf("%s is %v, %v", name, got, err)
		}
	}
}

// Whoever answers in the place of a server that is not verified gets no password,
// also where nobody asked for verification.
func TestNoPasswordInTheClear(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	got := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		b := pgproto3.NewBackend(c, c)
		if _, err := b.ReceiveStartupMessage(); err != nil {
			got <- err.Error()
			return
		}
		b.Send(&pgproto3.AuthenticationCleartextPassword{})
		if err := b.Flush(); err != nil {
			got <- err.Error()
			return
		}
		_ = b.SetAuthType(pgproto3.AuthTypeCleartextPassword)
		m, err := b.Receive()
		got <- fmt.Sprintf("%v %v", m, err)
	}()
	t.Setenv("PGPASSWORD", "marker-pw")
	c, err := parse("postgres://u@db.example/d?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	c.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	c.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, l.Addr().String())
	}
	j := &Journal{config: c, bounds: usual}
	j.prepareForFaults(c)
	_, err = j.dial(t.Context())
	if err == nil || !strings.Contains(readable(err).Error(), "asks for the password in the clear") {
		t.Errorf("connecting gives %v", err)
	}
	if said := <-got; strings.Contains(said, "marker-pw") {
		t.Error("the password went out")
	}
}

// What is wrong with a URL is named.
func TestCheckURL(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u@127.0.0.1/d?keepalives=1":           `"keepalives" is not supported`,
		"postgres://u@127.0.0.1/d?gssencmode=disable":     `"gssencmode" is not supported`,
		"postgres://u@127.0.0.1/d?pool_max_conns=4":       `"pool_max_conns" is not supported`,
		"postgres://u@127.0.0.1/d?Statement_Timeout=5s":   `"Statement_Timeout" is set by this program`,
		"postgres://u@127.0.0.1/d?replication=database":   `"replication" is not supported`,
		"postgres://u@127.0.0.1/d?a=%zz":                  "not escaped",
		"postgres://u@127.0.0.1/d#x":                      "of the form",
		"postgres://u@127.0.0.1/d?search_path=a":          "",
		"postgres://u@127.0.0.1/d?application_name=x":     "",
		"postgres://u@[::1]:1,[::1]:2/d?sslmode=disable":  "",
		"postgres://u@%2Fvar%2Frun%2Fpostgresql/d?role=a": "",
	} {
		got := ""
		if err := CheckURL(url); err != nil {
			got = err.Error()
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	for _, name := range unsupported {
		if CheckURL("postgres://u@127.0.0.1/d?"+name+"=1") == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for url, want := range map[string]bool{
		"postgres://u:p@h/d": true, "postgres://u@h/d?password=p": true, "postgres://u@h/d?sslpassword=p": true, "postgres://u@h/d?PassWord=p": true, "postgres://u@h/d?pass%77ord=p": true,
		"postgres://u@h:1,[::1]:2/d": false, "postgres://:p@[::1]:1,[::1]:2/d": true, "postgres://u@h/d?passfile=x": false,
	} {
		if HoldsPassword(url) != want {
			t.Errorf("%s holds a password: %v", url, !want)
		}
	}
}

// A parameter that the server does not take is named.
func testParameters(b *bed) {
	for parameter, want := range map[string]string{"no_such_thing=1": "no_such_thing", "work_mem=much": "work_mem", "role=nobody_here": `"role"`} {
		j, err := Open(b.Context(), Options{URL: b.url + "&" + parameter, ReadOnly: true})
		if err == nil {
			_ = j.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			b.Errorf("%s: %v", parameter, err)
		}
	}
}
