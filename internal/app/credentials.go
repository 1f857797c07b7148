package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/credentials/endpoint"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/loopback"
)

// A CredentialsEndpoint says where and how callers read credentials.
type CredentialsEndpoint struct {
	Listen      string                  // credentials-listen; port 0 takes a free one
	Callers     *endpoint.Callers       // credentials-callers-file
	Certificate func() *tls.Certificate // credentials-cert-file and credentials-key-file; nil: no TLS
	ClientCAs   func() *x509.CertPool   // credentials-client-ca-file; nil: no caller has a certificate
}

func (e *CredentialsEndpoint) check() []error {
	var errs []error
	wrong := func(setting, value, right string) {
		errs = append(errs, &config.Error{Setting: setting, Value: value, Want: right})
	}
	if e.Callers == nil {
		wrong("credentials-callers-file", "", "must be set with --credentials-listen: the file that names who may read which credentials")
	}
	if e.Certificate == nil && !loopback.IsHostPort(e.Listen) {
		wrong("credentials-listen", e.Listen, "needs --credentials-cert-file and --credentials-key-file, because it is not a loopback address: tokens would be sent in the clear")
	}
	if e.ClientCAs != nil && e.Certificate == nil {
		wrong("credentials-client-ca-file", "", "needs --credentials-cert-file and --credentials-key-file: only TLS has client certificates")
	}
	return errs
}

// listenForCredentials opens the listener, so that an address that cannot be used is
// reported at once. It returns nil if there is no endpoint.
func listenForCredentials(ctx context.Context, o *Options, closing *teardown) (net.Listener, error) {
	if o.CredentialsEndpoint == nil {
		return nil, nil
	}
	address := o.CredentialsEndpoint.Listen
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, &config.Error{Setting: "credentials-listen", Value: address, Want: "cannot be listened on: " + netReason(err)}
	}
	closing.add("listener for credentials", func() error { _ = l.Close(); return nil }) // also closed by the server
	return l, nil
}

// checkCredentialsEndpoint tries the address of the endpoint, and checks whether its
// certificate is valid now. The files were read with the settings.
func checkCredentialsEndpoint(ctx context.Context, o *Options) []CheckResult {
	const name = "endpoint"
	e := o.CredentialsEndpoint
	if e == nil {
		return nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", e.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return []CheckResult{{name, CheckWarning, "--credentials-listen " + e.Listen + " is in use; if a worker runs here, it is its listener, else choose another port"}}
	}
	if err != nil {
		return []CheckResult{{name, CheckFailed, "--credentials-listen " + e.Listen + " cannot be listened on: " + netReason(err)}}
	}
	_ = l.Close()
	words := "without TLS"
	if e.Certificate != nil {
		leaf, err := x509.ParseCertificate(e.Certificate().Certificate[0])
		now := time.Now()
		if err != nil || now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
			return []CheckResult{{name, CheckFailed, "the certificate in --credentials-cert-file has expired or is not valid yet: replace it, or check the clock of this machine"}}
		}
		words = "with TLS; the certificate ends at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	}
	return []CheckResult{{name, CheckOK, "--credentials-listen " + e.Listen + " can be listened on, " + words}}
}

// serveCredentials answers callers until the service has drained.
func serveCredentials(ctx context.Context, o *Options, l net.Listener, j journal.Journal, stores *credentialStores, registry prometheus.Registerer, log *slog.Logger, closing *teardown) error {
	if l == nil {
		return nil
	}
	source, err := credentialsJournal(ctx, o, j, log, closing)
	if err != nil {
		return err
	}
	e := o.CredentialsEndpoint
	server := endpoint.New(endpoint.Config{
		Journal: source, Secrets: stores.all, Callers: e.Callers,
		Metrics: endpoint.NewMetrics(registry), Logger: log,
	})
	var config *tls.Config
	if e.Certificate != nil {
		config = endpoint.NewTLS(e.Certificate, e.ClientCAs)
	}
	// The last requests are answered although ctx has ended: see closing.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	auditing, stopAudit := context.WithCancel(context.WithoutCancel(ctx))
	ended, audited := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(audited)
		_ = runComponent(auditing, log, "credentials audit", func(ctx context.Context) error { server.Run(ctx); return nil })
	}()
	go func() {
		defer close(ended)
		if err := server.Serve(serving, l, config); err != nil {
			log.Error("the credentials listener failed", "address", e.Listen, "err", err.Error())
		}
	}()
	closing.add("credentials endpoint", func() error {
		stop()
		<-ended
		stopAudit()
		<-audited
		return nil
	})
	log.Info("serving credentials", "address", l.Addr().String(), "tls", config != nil)
	return nil
}

// credentialsJournal returns the journal from which the endpoint serves callers. On
// PostgreSQL it has connections and transactions of its own, so that callers and the
// writer do not wait for each other. A SQLite file has one writer.
func credentialsJournal(ctx context.Context, o *Options, j journal.Journal, log *slog.Logger, closing *teardown) (endpoint.Journal, error) {
	at, err := journalAt(o.JournalURL)
	if err != nil || at.path != "" {
		return j, err
	}
	beside, err := at.open(ctx, openOptions{readOnly: true, logger: log})
	if err != nil {
		return nil, at.explain(err)
	}
	closing.add("journal of the credentials endpoint", beside.Close)
	return beside, nil
}
