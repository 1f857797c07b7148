package app

import (
	"crypto/x509"
	"log/slog"
	"time"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/schemas"
)

// Options are all that the service can be told. The comments name the settings
// as users type them; errors name them too. Begin with [Defaults].
type Options struct {
	Version string // of the program, for the start line, metrics and User-Agent

	Kafka kafka.Config // kafka-brokers, kafka-tls, kafka-sasl-mechanism and their files
	Group string       // kafka-group

	JournalURL string      // journal-url: `sqlite:` and a path, or postgres://…
	Keyset     *keyset.Set // keyset-file

	FetchMemory    int   // fetch-memory: bytes of fetched records, packed and unpacked; 0: the consumer's default
	JournalLimit   int64 // journal-limit: bytes of the journal at which fetching stops; 0: no bound but the disk
	JournalReserve int64 // journal-reserve: free bytes of its disk below which fetching stops; at least 2 MiB a call
	OutboxLimit    int   // outbox-limit: events that wait to be published at which fetching stops; 0: DefaultOutboxLimit

	InboxRetention      time.Duration // inbox-retention: how long what nothing needs is kept; 0: for ever
	DeadLetterRetention time.Duration // dead-letter-retention; 0: for ever
	// DeadLetterLimit (dead-letter-limit) and DeadLetterBytes (dead-letter-size)
	// bound the dead letters that keep their record; 0: no bound.
	DeadLetterLimit int64
	DeadLetterBytes int64

	InvoiceboxURL           string         // invoicebox-url: https, or http on loopback
	InvoiceboxCAs           *x509.CertPool // invoicebox-ca-file; nil: the system's
	Accounts                []Account
	EgressRequestsPerWindow int           // egress-requests-per-window: all accounts together
	EgressWindow            time.Duration // of EgressRequestsPerWindow; 0: 30 s
	Concurrency             int           // concurrency: calls in flight, at least one for each account

	// ForgetJournal is forget-journal: the identity of a new journal that takes the
	// place of a lost one. It names one journal, so that the setting cannot hide a
	// later loss.
	ForgetJournal string

	Start       string            // start: "", earliest, latest or RFC 3339
	Topics      map[string]string // topic: contract's name to topic; those left out keep their name
	EventFormat schemas.Format    // event-format
	IDHeader    string            // id-header: header that holds the id of plain JSON
	IDMember    string            // id-member: member that holds the id of plain JSON

	RequestDeadline time.Duration // request-deadline
	Lease           time.Duration // lease
	QuietPeriod     time.Duration // quiet-period
	Slack           time.Duration // slack
	UnknownOutcome  string        // unknown-outcome: probe-once or hold
	CoolDown        time.Duration // cool-down
	AddressCoolDown time.Duration // address-cool-down; 0: off
	MaximumAge      time.Duration // maximum-age
	VerifyEvery     time.Duration // verify-every; 0: off
	DrainTime       time.Duration // drain-time; 0: RequestDeadline and 5 s

	Files []WatchedFile // that the settings name; looked at while the service runs

	CredentialsEndpoint *CredentialsEndpoint // credentials-listen; nil: off

	Listen string // listen; port 0 takes a free one, "" opens nothing
	Pprof  bool   // pprof: serve Go's profiles on Listen
	// Ready is called once, when the consumer has begun its positions and the
	// relay can publish; never when the service ends before. It runs beside the
	// service and has returned before Run does, so it must not block. addr is the
	// listener's, "" without one.
	Ready func(addr string)

	Logger *slog.Logger // nil logs nothing
	// LogLinesNotWritten counts the lines of Logger that could not be written; nil: not counted.
	LogLinesNotWritten func() uint64
	Seams              Seams // for programs that try the service under faults
}

// An Account is a partner account.
type Account struct {
	Name      string
	PartnerID string
	Token     func() secret.String // asked for every call
	Signing   *Signing             // nil: requests are not signed

	RequestsPerWindow int
	Window            time.Duration
}

// Signing says how an account's requests are signed.
type Signing struct {
	Key       func() secret.String // asked for every call
	Algorithm string               // hmac-sha1, hmac-sha256 or hmac-sha512
	Encoding  string               // hex or base64
}

// Defaults are the defaults of all settings that have one.
func Defaults() Options {
	return Options{
		Group:                   "invoicebox-worker",
		JournalURL:              "sqlite:invoicebox-worker.db",
		JournalReserve:          DefaultJournalReserve,
		OutboxLimit:             DefaultOutboxLimit,
		InboxRetention:          engine.DefaultKeep,
		DeadLetterRetention:     engine.DefaultKeepDeadLetters,
		DeadLetterLimit:         20_000,
		DeadLetterBytes:         256 << 20,
		InvoiceboxURL:           "https://api.invoicebox.ru",
		EgressRequestsPerWindow: 500,
		Concurrency:             64,
		EventFormat:             schemas.FormatBinary,
		RequestDeadline:         30 * time.Second,
		Lease:                   60 * time.Second,
		QuietPeriod:             2 * time.Minute,
		Slack:                   60 * time.Second,
		UnknownOutcome:          "probe-once",
		CoolDown:                24 * time.Hour,
		MaximumAge:              14 * 24 * time.Hour,
		VerifyEvery:             24 * time.Hour,
		Listen:                  "127.0.0.1:9464",
	}
}
