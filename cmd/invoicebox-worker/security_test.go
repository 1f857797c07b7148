package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/credentials/endpoint"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/testutil/golden"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/schemas"
)

const securityPage = "../../SECURITY.md"

func TestSecurityPage(t *testing.T) {
	t.Run("SealedColumns", func(t *testing.T) {
		rows := [][]string{{"Column", "Bound to", "A value that was moved or edited"}}
		for _, c := range keyset.Columns() {
			name := "`" + c.Table + "." + c.Name + "`"
			if c.Table == "meta" {
				name = "`meta.value` of `" + c.Name + "`"
			}
			rows = append(rows, []string{name, c.Binds, c.Refused})
		}
		golden.CompareMarkdown(t, securityPage, "## Sealed values", rows)
	})
	t.Run("Connections", func(t *testing.T) {
		rows := [][]string{{"Connection", "Protocol", "Verified", "Default", "Plaintext on purpose"}}
		for _, c := range connections {
			t.Run(strings.ReplaceAll(c.name, " ", "_"), c.try)
			rows = append(rows, []string{c.name, c.protocol, c.verified, c.byDefault, c.plaintext})
		}
		golden.CompareMarkdown(t, securityPage, "## Connections", rows)
	})
}

// connections are the rows of the table of connections; try shows that the code
// does as the row says.
var connections = []struct {
	name, protocol, verified, byDefault, plaintext string
	try                                            func(t *testing.T)
}{
	{
		"Invoicebox", "HTTPS, TLS 1.2 or later, no redirects", "certificate and name; `--invoicebox-ca-file` replaces the authorities", "verified", "`http://` on loopback only; refused elsewhere",
		func(t *testing.T) {
			for url, fits := range map[string]bool{
				"https://api.example": true, "http://api.example": false, "http://127.0.0.1:8080": true, "http://localhost:8080": true, "http://10.0.0.1": false,
			} {
				client, err := invoicebox.New(invoicebox.Options{BaseURL: url, PartnerID: "partner", Token: func() secret.String { return secret.New("token") }, UserAgent: "test"})
				if (err == nil) != fits {
					t.Errorf("%s: %v", url, err)
				}
				if client != nil {
					client.Close()
				}
			}
		},
	},
	{
		"PostgreSQL", "PostgreSQL over TLS", "`sslmode=verify-full`: certificate and name", "refused beyond loopback and sockets without an `sslmode`, and with `prefer` or `allow`",
		"`sslmode=disable` spelled out, or `require` and `verify-ca` for less; a warning in the log and in `check`",
		func(t *testing.T) {
			for _, name := range []string{"PGSSLMODE", "PGSERVICE", "PGSERVICEFILE", "PGHOST"} {
				t.Setenv(name, "")
			}
			for url, fits := range map[string]bool{
				"postgres://u@db.example/x": false, "postgres://u@db.example/x?sslmode=prefer": false, "postgres://u@db.example/x?sslmode=allow": false,
				"postgres://u@db.example/x?sslmode=disable": true, "postgres://u@db.example/x?sslmode=require": true, "postgres://u@db.example/x?sslmode=verify-full": true,
				"postgres://u@127.0.0.1/x": true, "postgres://u@localhost,db.example/x": false, "postgres://u:password@localhost/x": false,
			} {
				// No connection is made: what is refused is refused before.
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				_, err := app.OpenReadOnly(ctx, url, nil)
				if refused := err != nil && (strings.Contains(err.Error(), "add sslmode=verify-full") || strings.Contains(err.Error(), "no password")); refused == fits {
					t.Errorf("%s: %v", url, err)
				}
			}
		},
	},
	{
		"Kafka", "Kafka over TLS 1.2 or later", "with `--kafka-tls`: certificate and name; `--kafka-ca-file` replaces the authorities", "plaintext; beyond loopback a warning in the log and in `check`",
		"no `--kafka-tls`; SASL PLAIN is refused beyond loopback then, SCRAM is not",
		func(t *testing.T) {
			for _, c := range []struct {
				broker, mechanism string
				fits, warns       bool
			}{
				{"kafka.example:9092", kafka.Plain, false, true}, {"127.0.0.1:9092", kafka.Plain, true, false}, {"kafka.example:9092", "scram-sha-512", true, true}, {"kafka.example:9092", "", true, true},
			} {
				config := kafka.Config{Brokers: []string{c.broker}}
				if c.mechanism != "" {
					config.SASL = &kafka.SASL{Mechanism: c.mechanism, Username: "u", Password: func() (secret.String, error) { return secret.New("p"), nil }}
				}
				conn, err := kafka.New(config)
				if (err == nil) != c.fits {
					t.Errorf("%+v: %v", c, err)
				}
				if err == nil && (conn.PlaintextBrokers() != "") != c.warns {
					t.Errorf("%+v: plaintext %q", c, conn.PlaintextBrokers())
				}
			}
		},
	},
	{
		"OpenBao or Vault", "HTTPS, TLS 1.2 or later, no redirects, no repeated requests", "certificate and name; `--vault-ca-file` replaces the authorities", "verified",
		"`http://` on loopback only, refused elsewhere; `BAO_SKIP_VERIFY` or `VAULT_SKIP_VERIFY`",
		func(t *testing.T) {
			for address, fits := range map[string]bool{"http://openbao.example:8200": false, "http://127.0.0.1:8200": true, "https://openbao.example:8200": true} {
				if want := config.CheckVaultAddress(address); (want == "") != fits {
					t.Errorf("%s: %s", address, want)
				}
			}
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			defer server.Close()
			keys, err := keyset.New()
			if err != nil {
				t.Fatal(err)
			}
			ask := func() openbao.Fault {
				store, err := openbao.New(openbao.Config{
					Name: schemas.StoreVault, Address: server.URL, Mount: "secret", Keys: keys,
					Login: openbao.WithToken(func() secret.String { return secret.New("token") }),
				})
				if err != nil {
					t.Fatal(err)
				}
				err = store.Ready(t.Context(), journal.ShopKey{Account: "default", Shop: "shop-1"})
				failed, ok := errors.AsType[*openbao.RequestError](err)
				if !ok {
					return openbao.FaultNone // it got through TLS
				}
				return failed.Fault
			}
			if fault := ask(); fault != openbao.FaultCertificate {
				t.Errorf("an unknown authority: %s", fault)
			}
			t.Setenv("VAULT_SKIP_VERIFY", "true")
			if fault := ask(); fault == openbao.FaultCertificate {
				t.Errorf("VAULT_SKIP_VERIFY: %s", fault)
			}
		},
	},
	{
		"OpenTelemetry collector (`--otlp-endpoint`)", "OTLP over HTTPS, TLS 1.2 or later, no redirects", "certificate and name; `OTEL_EXPORTER_OTLP_CERTIFICATE` replaces the authorities", "off",
		"`http://` spelled out; beyond loopback a warning in the log and in `check`",
		func(t *testing.T) {
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.StartTLS()
			defer server.Close()
			if err := tracing.Probe(t.Context(), server.URL); err == nil || !strings.Contains(err.Error(), "not trusted") {
				t.Errorf("a certificate of nobody: %v", err)
			}
			for url, open := range map[string]bool{"http://127.0.0.1:4318": false, "http://localhost:4318": false, "https://collector.example": false, "http://collector.example:4318": true} {
				if config.Unencrypted(url) != open {
					t.Errorf("%s: a warning: %v", url, !open)
				}
			}
		},
	},
	{
		"Metrics and health (`--listen`)", "HTTP", "nobody; on loopback the Host header must name loopback; at most 128 connections, 32 for each address", "loopback only (`127.0.0.1:9464`)", "always plaintext; keep it on loopback or behind a network policy",
		func(t *testing.T) {
			code, out, _ := execute(t.Context(), "run", "--help")
			if code != exitDone || !strings.Contains(out, "127.0.0.1:9464") {
				t.Error("the default of --listen is another")
			}
		},
	},
	{
		"Credentials (`--credentials-listen`)", "HTTPS, TLS 1.2 or later", "each caller by its bearer token or certificate; at most 256 connections, 128 for each address, and 64 reads at once", "off", "on loopback only, where the Host header must name loopback; refused elsewhere",
		func(t *testing.T) {
			config := endpoint.NewTLS(func() *tls.Certificate { return nil }, nil)
			if config.MinVersion != tls.VersionTLS12 || !config.SessionTicketsDisabled {
				t.Errorf("TLS from version %x, session tickets disabled: %t", config.MinVersion, config.SessionTicketsDisabled)
			}
			// TestCredentialsSettings tries the addresses.
		},
	},
}
