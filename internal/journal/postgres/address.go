package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"invoicebox-worker/internal/loopback"

	"github.com/jackc/pgservicefile"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A URLError describes what is wrong with the URL of a database, or with libpq's variables
// and files. Words contains no password.
type URLError struct{ Words string }

func (e *URLError) Error() string { return "journal: the URL of the database: " + e.Words }

// unsupported are parameters of libpq, and of other drivers and poolers, that this
// program does not know. The server would refuse them without their name.
var unsupported = []string{
	"fallback_application_name", "gssdelegation", "gssencmode", "gsslib", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
	"load_balance_hosts", "oauth_client_id", "oauth_client_secret", "oauth_issuer", "oauth_scope", "pool_health_check_period", "pool_max_conn_idle_time",
	"pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter", "pool_max_conns", "pool_min_conns", "pool_min_idle_conns", "replication", "requirepeer",
	"scram_client_key", "scram_server_key", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcompression", "sslcrl", "sslcrldir", "sslkeylogfile", "tcp_user_timeout",
}

// HoldsPassword reports whether a URL contains a password, which every user of the machine
// could read in the list of processes.
func HoldsPassword(address string) bool {
	params, password, err := split(address)
	if err != nil {
		return false
	}
	for name := range params {
		password = password || strings.HasSuffix(strings.ToLower(name), "password")
	}
	return password
}

// CheckURL checks the form of a URL; the error is a [*URLError]. It reads no file and
// makes no connection.
func CheckURL(address string) error {
	params, _, err := split(address)
	if err != nil {
		return err
	}
	for name := range params {
		lower := strings.ToLower(name)
		_, ours := settings[lower]
		switch {
		case slices.Contains(unsupported, lower):
			return &URLError{Words: fmt.Sprintf("the parameter %q is not supported: remove it", name)}
		case ours || newer[lower] > 0:
			return &URLError{Words: fmt.Sprintf("the parameter %q is set by this program: remove it", name)}
		}
	}
	return nil
}

// split parses a URL as libpq does: several hosts, addresses in brackets and escaped paths
// of sockets are not possible in a URL of the web.
func split(address string) (params map[string]string, password bool, err error) {
	_, rest, found := strings.Cut(address, "://")
	if !found || strings.ContainsAny(address, "#\x00") {
		return nil, false, &URLError{Words: "it is not of the form postgres://USER@HOST:PORT/DATABASE"}
	}
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		_, word, _ := strings.Cut(rest[:i], ":")
		password, rest = word != "", rest[i+1:]
	}
	params = make(map[string]string)
	_, query, _ := strings.Cut(rest, "?")
	for part := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(part, "=")
		if name, err = url.PathUnescape(name); err == nil {
			value, err = url.PathUnescape(value)
		}
		if err != nil {
			return nil, password, &URLError{Words: "a parameter is not escaped correctly"}
		}
		if name != "" {
			params[name] = value
		}
	}
	return params, password, nil
}

// Files are the files that libpq's variables, a service and the URL name for a connection.
type Files struct {
	PasswordFile string
	Named        bool // the password file was named, so it is not the default one
	KeyFile      string
}

// FilesOf returns the files with secrets that a connection to a URL uses.
func FilesOf(address string) (Files, error) {
	params, _, err := split(address)
	if err != nil {
		return Files{}, err
	}
	home, _ := os.UserHomeDir()
	add := func(name, variable string) {
		if value := os.Getenv(variable); params[name] == "" && value != "" {
			params[name] = value
		}
	}
	add("service", "PGSERVICE")
	add("servicefile", "PGSERVICEFILE")
	if service := params["service"]; service != "" {
		path := params["servicefile"]
		if path == "" {
			path = filepath.Join(home, ".pg_service.conf")
		}
		all, err := pgservicefile.ReadServicefile(path)
		if err != nil {
			return Files{}, &URLError{Words: fmt.Sprintf("the service file %s cannot be read", path)}
		}
		s, err := all.GetService(service)
		if err != nil {
			return Files{}, &URLError{Words: fmt.Sprintf("the service file %s has no service %q", path, service)}
		}
		for name, value := range s.Settings {
			if params[name] == "" {
				params[name] = value
			}
		}
	}
	add("passfile", "PGPASSFILE")
	add("sslkey", "PGSSLKEY")
	f := Files{PasswordFile: params["passfile"], KeyFile: params["sslkey"]}
	if f.Named = f.PasswordFile != ""; !f.Named {
		f.PasswordFile = filepath.Join(home, ".pgpass")
	}
	if f.KeyFile == "" {
		f.KeyFile = filepath.Join(home, ".postgresql", "postgresql.key")
	}
	return f, nil
}

// parse parses a URL with libpq's variables and files. It refuses a connection to another
// machine that may be unencrypted, unless the operator has permitted that explicitly.
func parse(address string) (*pgx.ConnConfig, error) {
	if strings.Contains(address, "://") {
		if err := CheckURL(address); err != nil {
			return nil, err
		}
	}
	c, err := pgx.ParseConfig(address)
	if err != nil {
		// The driver's own text contains the URL.
		for _, part := range []string{"failed to configure TLS", "failed to read service"} {
			if inner := errors.Unwrap(err); inner != nil && strings.Contains(err.Error(), part) {
				return nil, &URLError{Words: part + ": " + inner.Error()}
			}
		}
		return nil, &URLError{Words: "it cannot be read; it has to be of the form postgres://USER@HOST:PORT/DATABASE?PARAMETER=VALUE"}
	}
	// The parameters of prepared statements have known types, which a column needs. A pooler that
	// needs another mode is refused in any mode: ErrPooled. The mode needs the driver's cache, which
	// has 512 statements by default, and none if the URL says so.
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	c.StatementCacheCapacity = max(c.StatementCacheCapacity, 512)
	weakest := verified
	for _, host := range transports(c) {
		if host.transport == fallsBack {
			return nil, &URLError{Words: fmt.Sprintf("the connection to %s would be made without TLS if the server offers none, and without verifying its certificate: add sslmode=verify-full "+
				"(with sslrootcert=FILE if an authority of your own signs the certificate), or permit less explicitly with sslmode=verify-ca, require or disable", host.name)}
		}
		weakest = min(weakest, host.transport)
	}
	if weakest < verified && c.RequireAuth == "" {
		// An impostor in the server's place would get the password itself.
		c.RequireAuth = "!password"
	}
	lookup := c.LookupFunc
	c.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		if loopback.IsLocalhost(host) {
			return []string{"127.0.0.1", "::1"}, nil
		}
		return lookup(ctx, host)
	}
	return c, nil
}

// Weakness describes how a connection to another machine is less protected than it can be;
// "" if it is not.
func Weakness(address string) string {
	c, err := parse(address)
	if err != nil {
		return ""
	}
	for _, host := range transports(c) {
		if words, ok := weaknesses[host.transport]; ok {
			return fmt.Sprintf("the connection to the database on %s %s; use sslmode=verify-full", host.name, words)
		}
	}
	return ""
}

// A transport is the protection of a connection to another machine, the weakest first.
type transport uint8

const (
	fallsBack  transport = iota // TLS if the server offers it, else none
	plain                       // none
	unverified                  // TLS with anybody
	unnamed                     // TLS with any server of the authority
	verified
)

var weaknesses = map[transport]string{
	plain:      "is not encrypted (sslmode=disable)",
	unverified: "is encrypted, but the server's certificate is not verified (sslmode=require)",
	unnamed:    "is encrypted, but the name in the server's certificate is not compared (sslmode=verify-ca)",
}

type hostTransport struct {
	name      string
	transport transport
}

// transports returns those of the hosts that are not this machine. It uses the driver's
// result from the URL, the variables and the service, so that it does not matter where
// sslmode was set.
func transports(c *pgx.ConnConfig) []hostTransport {
	var out []hostTransport
	add := func(host string, port uint16, of transport) {
		if network, _ := pgconn.NetworkAddress(host, port); network == "unix" || loopback.IsHost(host) {
			return
		}
		if n := len(out); n > 0 && out[n-1].name == host && (of == plain) != (out[n-1].transport == plain) {
			out[n-1].transport = fallsBack
			return
		}
		out = append(out, hostTransport{host, of})
	}
	all := append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
	for _, f := range all {
		switch t := f.TLSConfig; {
		case t == nil:
			add(f.Host, f.Port, plain)
		case !t.InsecureSkipVerify:
			add(f.Host, f.Port, verified)
		case t.VerifyPeerCertificate != nil:
			add(f.Host, f.Port, unnamed)
		default:
			add(f.Host, f.Port, unverified)
		}
	}
	return out
}
