package app

import (
	"crypto/x509"
	"log/slog"
	"time"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
)

// Options are the settings of the service, the content of their files, and values from the
// program. Begin with [Defaults].
type Options struct {
	config.Worker

	Version string // of the program, for the start line, metrics and User-Agent

	Kafka         kafka.Config   // kafka-brokers, kafka-tls, kafka-sasl-mechanism and their files
	Keyset        *keyset.Set    // keyset-file, at the start
	InvoiceboxCAs *x509.CertPool // invoicebox-ca-file; nil: the system's
	Accounts      []Account
	// KeysetNow returns the present keyset of the file, the same one while the file is
	// unchanged; nil: it never changes.
	KeysetNow    func() *keyset.Set
	EgressWindow time.Duration // of EgressRequestsPerWindow; 0: 30 s

	Files []WatchedFile // that the settings name; read again while the service runs

	Vault               *Vault               // vault-address and the like; nil: secrets in OpenBao or Vault cannot be read
	CredentialsEndpoint *CredentialsEndpoint // credentials-listen; nil: off

	// Ready is called once, when the consumer has begun its positions and the relay can
	// publish; never if the service ends before. It has returned before Run does, so it
	// must not block. addr is the listener's, "" without one.
	Ready func(addr string)

	Logger *slog.Logger // nil logs nothing
	// LogLinesNotWritten counts the lines of Logger that could not be written; nil: not counted.
	LogLinesNotWritten func() uint64
	Hooks              Hooks // for programs that try the service under faults
}

// An Account is a partner account.
type Account struct {
	Name      string
	PartnerID string
	Token     func() secret.String // called for every call
	Signing   *Signing             // nil: requests are not signed

	RequestsPerWindow int
	Window            time.Duration

	CredentialsStore string // of the account's new secrets; "": that of the setting
}

// Signing describes how an account's requests are signed.
type Signing struct {
	Key       func() secret.String // called for every call
	Algorithm string               // hmac-sha1, hmac-sha256 or hmac-sha512
	Encoding  string               // hex or base64
}

// Defaults are options with the default of every setting that has one.
func Defaults() Options { return Options{Worker: config.DefaultWorker()} }
