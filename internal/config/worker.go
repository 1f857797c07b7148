package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"invoicebox-worker/schemas"
)

// WorkerPrefix begins the environment variables of invoicebox-worker.
const WorkerPrefix = "INVOICEBOX_WORKER_"

// Worker is the settings of the service. The tags of a field give its bounds: min and
// max for numbers, times and sizes, or for a value besides them, oneof for words,
// check for a form that needs code.
type Worker struct {
	Config string `name:"config" type:"setting" group:"general" placeholder:"FILE" help:"YAML file with settings. Its members have the names of the flags, without the dashes."`

	KafkaBrokers       []string `name:"kafka-brokers" type:"setting" check:"hostport" group:"kafka" placeholder:"HOST:PORT,…" help:"Addresses of brokers for the first connection. Required."`
	KafkaGroup         string   `name:"kafka-group" type:"setting" check:"group" group:"kafka" placeholder:"NAME" default:"invoicebox-worker" help:"Consumer group (default ${default})."`
	KafkaTLS           bool     `name:"kafka-tls" type:"setting" group:"kafka" default:"false" help:"Use TLS for connections to the brokers (default false)."`
	KafkaCAFile        string   `name:"kafka-ca-file" type:"setting" group:"kafka" placeholder:"FILE" help:"PEM file with the certificate authorities for the brokers (default: the system's). Needs --kafka-tls."`
	KafkaCertFile      string   `name:"kafka-cert-file" type:"setting" group:"kafka" placeholder:"FILE" help:"PEM file with the client certificate. Needs --kafka-key-file."`
	KafkaKeyFile       string   `name:"kafka-key-file" type:"setting" group:"kafka" placeholder:"FILE" help:"PEM file with the key of the client certificate. Only its owner may read it."`
	KafkaSASLMechanism string   `name:"kafka-sasl-mechanism" type:"setting" oneof:"plain,scram-sha-256,scram-sha-512" group:"kafka" placeholder:"NAME" help:"SASL mechanism: plain, scram-sha-256 or scram-sha-512 (default: none)."`
	KafkaUsername      string   `name:"kafka-username" type:"setting" group:"kafka" placeholder:"NAME" help:"User for SASL."`
	KafkaPasswordFile  string   `name:"kafka-password-file" type:"setting" group:"kafka" placeholder:"FILE" help:"File with the password for SASL."`
	FetchMemory        Size     `name:"fetch-memory" type:"setting" min:"24MiB" max:"1GiB" group:"kafka" placeholder:"SIZE" default:"32MiB" help:"Memory for the fetched records of all partitions, compressed and decompressed, from 24MiB to 1GiB (default ${default}). The records of a batch become dead letters if the batch is larger than half of it, or larger than all of it when decompressed."`

	JournalURL string `name:"journal-url" type:"setting" check:"journal" group:"journal" placeholder:"URL" default:"sqlite:invoicebox-worker.db" help:"Where the journal is: sqlite: and a path (default ${default}), or postgres://USER@HOST/DATABASE?sslmode=verify-full for several workers (sslmode is optional on loopback and sockets). The password is in the file that PGPASSFILE names, or in PGPASSWORD."`
	KeysetFile string `name:"keyset-file" type:"setting" with:"keyset-wrap" group:"journal" placeholder:"FILE" help:"Keys that seal secrets, made by \"keys create\". Required. A lost keyset is lost secrets: keep a copy."`
	KeysetWrap string `name:"keyset-wrap" type:"setting" check:"mount" with:"vault-address,vault-namespace,vault-ca-file,vault-token-file,vault-role-id-file,vault-secret-id-file,vault-kubernetes-role,vault-jwt-role,vault-jwt-file,vault-auth-mount" group:"journal" placeholder:"MOUNT/KEY" help:"Key of the transit engine of OpenBao or Vault that encrypts the keys in --keyset-file, such as transit/invoicebox-worker. The server is needed at each start, and when the file has changed. Off by default."`

	JournalLimit        Size          `name:"journal-limit" type:"setting" group:"journal" placeholder:"SIZE" default:"0" help:"Size of the journal, such as 20GiB, from which on no record is fetched; 0: no limit (default ${default})."`
	JournalReserve      Size          `name:"journal-reserve" type:"setting" group:"journal" placeholder:"SIZE" default:"256MiB" help:"Free space on the journal's disk below which no record is fetched (default ${default}). Below a fourth of it no call begins; the rest is for the calls in flight. At least 2 MiB for each of --concurrency."`
	InboxRetention      time.Duration `name:"inbox-retention" type:"setting" or:"0s" min:"72h" max:"87840h" group:"journal" placeholder:"TIME" default:"720h" help:"How long to keep rows that nothing needs, such as accepted events and ended runs; 0s: forever, otherwise at least 72h (default ${default}). Accepted events are kept longer if the input topics keep their records longer."`
	DeadLetterRetention time.Duration `name:"dead-letter-retention" type:"setting" or:"0s" min:"72h" max:"87840h" group:"journal" placeholder:"TIME" default:"2160h" help:"How long to keep dead letters; 0s: forever, otherwise at least 72h (default ${default})."`
	DeadLetterLimit     int           `name:"dead-letter-limit" type:"setting" min:"0" max:"100000000" group:"journal" placeholder:"N" default:"20000" help:"Number of dead letters that keep their record for replay; further ones keep only position and digest; 0: no limit (default ${default})."`
	DeadLetterSize      Size          `name:"dead-letter-size" type:"setting" group:"journal" placeholder:"SIZE" default:"256MiB" help:"Total size of the records that dead letters keep; further ones keep only position and digest; 0: no limit (default ${default})."`

	OutboxLimit int `name:"outbox-limit" type:"setting" min:"1" max:"100000000" group:"journal" placeholder:"N" default:"100000" help:"Number of events waiting to be published from which on no record is fetched (default ${default})."`

	InvoiceboxURL           string        `name:"invoicebox-url" type:"setting" check:"api" group:"invoicebox" placeholder:"URL" default:"https://api.invoicebox.ru" help:"Address of the API; https, or http on loopback (default ${default})."`
	InvoiceboxCAFile        string        `name:"invoicebox-ca-file" type:"setting" group:"invoicebox" placeholder:"FILE" help:"PEM file with the certificate authorities for the API; default: the system's, or those of SSL_CERT_FILE. HTTPS_PROXY and NO_PROXY are supported."`
	PartnerID               string        `name:"partner-id" type:"setting" check:"partner" group:"invoicebox" placeholder:"ID" help:"Our id at Invoicebox, of the one account named \"default\". Required, unless the file has accounts."`
	TokenFile               string        `name:"token-file" type:"setting" group:"invoicebox" placeholder:"FILE" help:"File with the account's API token. Required, unless the file has accounts."`
	SigningKeyFile          string        `name:"signing-key-file" type:"setting" group:"invoicebox" placeholder:"FILE" help:"File with the key that signs requests (default: requests are not signed)."`
	SigningAlgorithm        string        `name:"signing-algorithm" type:"setting" oneof:"hmac-sha1,hmac-sha256,hmac-sha512" group:"invoicebox" placeholder:"WORD" default:"hmac-sha1" help:"Algorithm of the signature: hmac-sha1, hmac-sha256 or hmac-sha512 (default ${default})."`
	SigningEncoding         string        `name:"signing-encoding" type:"setting" oneof:"hex,base64" group:"invoicebox" placeholder:"WORD" default:"hex" help:"Encoding of the signature: hex or base64 (default ${default})."`
	RequestsPerWindow       int           `name:"requests-per-window" type:"setting" min:"1" max:"1000000" group:"invoicebox" placeholder:"N" default:"100" help:"Requests of one account in every sliding window. Each attempt counts (default ${default})."`
	Window                  time.Duration `name:"window" type:"setting" min:"100ms" max:"1h" group:"invoicebox" placeholder:"TIME" default:"30s" help:"Length of the sliding window for rate limits (default ${default})."`
	EgressRequestsPerWindow int           `name:"egress-requests-per-window" type:"setting" min:"1" max:"1000000" group:"invoicebox" placeholder:"N" default:"500" help:"Requests of all accounts together in every sliding window. The API limits them for each network address (default ${default})."`
	Concurrency             int           `name:"concurrency" type:"setting" min:"1" max:"4096" group:"invoicebox" placeholder:"N" default:"64" help:"Calls in flight (default ${default})."`

	CredentialsStore string `name:"credentials-store" type:"setting" oneof:"sealed,openbao,vault" group:"work" placeholder:"NAME" default:"sealed" help:"Where new merchant ids and tokens are stored: sealed (encrypted, in the journal), openbao or vault (default ${default}). Credentials that are already stored are not moved."`

	VaultAddress        string `name:"vault-address" type:"setting" check:"vault" group:"vault" placeholder:"URL" help:"Address of the server: https, or http on loopback (default: BAO_ADDR or VAULT_ADDR; the servers' other variables are read too). Redirects are not followed."`
	VaultNamespace      string `name:"vault-namespace" type:"setting" check:"name" group:"vault" placeholder:"NAME" help:"Namespace of the mount and of the log-in (default: BAO_NAMESPACE or VAULT_NAMESPACE)."`
	VaultCAFile         string `name:"vault-ca-file" type:"setting" group:"vault" placeholder:"FILE" help:"PEM file with the certificate authorities for the server (default: BAO_CACERT or VAULT_CACERT, or the system's)."`
	VaultMount          string `name:"vault-mount" type:"setting" check:"mount" group:"vault" placeholder:"PATH" default:"secret" help:"Mount of KV version 2 (default ${default}). Secrets are at MOUNT/invoicebox/ACCOUNT/SHOP, with members merchantId and token."`
	VaultTokenFile      string `name:"vault-token-file" type:"setting" group:"vault" placeholder:"FILE" help:"File with a token. It is renewed while the service runs. One of the four ways to log in; each file is read again when it changes."`
	VaultRoleIDFile     string `name:"vault-role-id-file" type:"setting" group:"vault" placeholder:"FILE" help:"File with the role id for AppRole; with --vault-secret-id-file."`
	VaultSecretIDFile   string `name:"vault-secret-id-file" type:"setting" group:"vault" placeholder:"FILE" help:"File with the secret id for AppRole."`
	VaultKubernetesRole string `name:"vault-kubernetes-role" type:"setting" check:"name" group:"vault" placeholder:"NAME" help:"Role for the log-in with the token of the pod's service account."`
	VaultJWTRole        string `name:"vault-jwt-role" type:"setting" check:"name" group:"vault" placeholder:"NAME" help:"Role for the log-in with a JWT; with --vault-jwt-file."`
	VaultJWTFile        string `name:"vault-jwt-file" type:"setting" group:"vault" placeholder:"FILE" help:"File with the JWT. With --vault-kubernetes-role: the service account's token, if it is not in its usual place. Its permissions are the platform's."`
	VaultAuthMount      string `name:"vault-auth-mount" type:"setting" check:"mount" group:"vault" placeholder:"PATH" help:"Path at which the log-in method is enabled (default: approle, kubernetes or jwt)."`

	Start         string            `name:"start" type:"setting" check:"start" group:"work" placeholder:"WHERE" help:"Where the first run of a consumer group begins: earliest, latest or a time such as 2026-01-31T00:00:00Z. Required only if the topics already contain records."`
	ForgetJournal string            `name:"forget-journal" type:"setting" check:"identity" group:"work" placeholder:"IDENTITY" help:"Starts with the new journal of this identity instead of a lost one; the error of run prints the identity. The tokens and open operations of the lost journal are abandoned; sequences and versions begin above the old ones. Prefer \"journal recover\". No effect on any other journal."`
	Topics        map[string]string `name:"topic" type:"setting" check:"topic" group:"work" placeholder:"NAME=TOPIC" help:"Another topic for an event of the contract; repeatable. By default the topic has the name of the event."`
	EventFormat   schemas.Format    `name:"event-format" type:"setting" oneof:"binary,structured" group:"work" placeholder:"WORD" default:"binary" help:"Format of published events: binary or structured CloudEvents (default ${default})."`
	IDHeader      string            `name:"id-header" type:"setting" check:"name" group:"work" placeholder:"NAME" help:"Header with the id of records that are plain JSON."`
	IDMember      string            `name:"id-member" type:"setting" check:"name" group:"work" placeholder:"NAME" help:"Member of the data with the id of records that are plain JSON, if the record lacks --id-header."`

	RequestDeadline time.Duration   `name:"request-deadline" type:"setting" min:"100ms" max:"10m" group:"time" placeholder:"TIME" default:"30s" help:"Time limit of a request, connecting included (default ${default}). Must be below --lease."`
	Lease           time.Duration   `name:"lease" type:"setting" min:"200ms" max:"1h" group:"time" placeholder:"TIME" default:"60s" help:"How long a worker's claim of an operation lasts (default ${default})."`
	QuietPeriod     time.Duration   `name:"quiet-period" type:"setting" min:"1ms" max:"24h" group:"time" placeholder:"TIME" default:"2m" help:"How long an operation with an unknown outcome waits before the probe (default ${default}). At least --slack."`
	Slack           time.Duration   `name:"slack" type:"setting" min:"1ms" max:"24h" group:"time" placeholder:"TIME" default:"60s" help:"How long a request may still arrive at Invoicebox after its deadline (default ${default})."`
	UnknownOutcome  string          `name:"unknown-outcome" type:"setting" oneof:"probe-once,hold" group:"time" placeholder:"WORD" default:"probe-once" help:"What follows an unknown outcome after the quiet period: probe-once or hold (default ${default}). A probe sends the request once more, which may spend the code a second time. With hold, an operator decides. An invitation is sent once more in either case."`
	CoolDown        time.Duration   `name:"cool-down" type:"setting" min:"1ms" max:"8784h" group:"time" placeholder:"TIME" default:"24h" help:"Least time between two e-mails to the same address of a shop (default ${default})."`
	AddressCoolDown time.Duration   `name:"address-cool-down" type:"setting" min:"0s" max:"8784h" group:"time" placeholder:"TIME" default:"0s" help:"Least time between two e-mails to the same address of an account, whichever shops ask; 0s: off (default ${default}). Further invitations wait. Below --maximum-age, at most --inbox-retention."`
	MaximumAge      time.Duration   `name:"maximum-age" type:"setting" min:"1m" max:"8784h" group:"time" placeholder:"TIME" default:"336h" help:"Age at which an operation that still waits fails as expired (default ${default})."`
	VerifyEvery     time.Duration   `name:"verify-every" type:"setting" or:"0s" min:"1m" max:"8784h" group:"time" placeholder:"TIME" default:"24h" help:"Time within which the token of each active shop is checked again; 0s: never, otherwise at least 1m (default ${default}). Checks use at most a tenth of --egress-requests-per-window, so with more shops than that allows they come later."`
	DestroyAfter    time.Duration   `name:"destroy-after" type:"setting" or:"0s" min:"1s" max:"8784h" group:"time" placeholder:"TIME" default:"24h" help:"Time after which the secrets of a disconnected shop, and secrets that a newer activation or a move has replaced, are destroyed; 0s: never, otherwise at least 1s (default ${default}). Until then, services that read the store themselves can still read them."`
	RemindAfter     []time.Duration `name:"remind-after" type:"setting" min:"1m" max:"8784h" group:"time" placeholder:"TIME,…" help:"Times after an invitation at which shop.invoicebox_invitation_unanswered is published if the shop entered no code, such as 72h,168h; at most 10, the last one at most --inbox-retention. Off by default; needs the topic. Only shops that are invited while it is set are reminded."`
	DrainTime       time.Duration   `name:"drain-time" type:"setting" min:"1ms" max:"1h" group:"time" placeholder:"TIME" help:"How long to wait for the calls in flight after SIGTERM (default: request deadline and 5s)."`

	CredentialsListen       string `name:"credentials-listen" type:"setting" check:"listen" group:"work" placeholder:"HOST:PORT" help:"Address at which callers read credentials: GET /v1/credentials?ref=REFERENCE. Off by default."`
	CredentialsCallersFile  string `name:"credentials-callers-file" type:"setting" group:"work" placeholder:"FILE" help:"YAML file with callers:, a list of {name, token-file or subject, allow: [invoicebox/default/*, …], requests-per-second}. Required with --credentials-listen; read again when it changes."`
	CredentialsCertFile     string `name:"credentials-cert-file" type:"setting" group:"work" placeholder:"FILE" help:"PEM file with the certificate of --credentials-listen; with --credentials-key-file. Required beyond loopback; read again when it changes."`
	CredentialsKeyFile      string `name:"credentials-key-file" type:"setting" group:"work" placeholder:"FILE" help:"PEM file with the key of that certificate. Only its owner may read it."`
	CredentialsClientCAFile string `name:"credentials-client-ca-file" type:"setting" group:"work" placeholder:"FILE" help:"PEM file with the certificate authorities of callers. Read again when it changes. Required if a caller has a subject."`

	Listen       string `name:"listen" type:"setting" check:"listen" group:"general" placeholder:"HOST:PORT" default:"127.0.0.1:9464" help:"Address of /metrics, /livez and /readyz (default ${default})."`
	Pprof        bool   `name:"pprof" type:"setting" group:"general" default:"false" help:"Serve Go's profiles under /debug/pprof/ at --listen, without authentication (default false)."`
	OTLPEndpoint string `name:"otlp-endpoint" type:"setting" check:"otlp" group:"general" placeholder:"URL" help:"Address of an OpenTelemetry collector that accepts OTLP over HTTP, such as https://collector.example:4318. Spans are sent to its /v1/traces. OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER and the exporter's other variables are read. Off by default."`
	LogLevel     string `name:"log-level" type:"setting" oneof:"debug,info,warn,error" group:"general" placeholder:"WORD" default:"info" help:"Least level of the lines in the log: debug, info, warn or error (default ${default})."`
	LogFormat    string `name:"log-format" type:"setting" oneof:"auto,text,json" group:"general" placeholder:"WORD" default:"auto" help:"Format of the log: auto, text or json (default ${default}). auto is text on a terminal, otherwise json."`
}

// Account is an element of accounts in the file. The zero value of a limit, or of the
// store, stands for the setting of the same name.
type Account struct {
	Name              string        `name:"name" check:"account"`
	PartnerID         string        `name:"partner-id" check:"partner"`
	TokenFile         string        `name:"token-file"`
	SigningKeyFile    string        `name:"signing-key-file"`
	SigningAlgorithm  string        `name:"signing-algorithm" oneof:"hmac-sha1,hmac-sha256,hmac-sha512"`
	SigningEncoding   string        `name:"signing-encoding" oneof:"hex,base64"`
	RequestsPerWindow int           `name:"requests-per-window" min:"1" max:"1000000"`
	Window            time.Duration `name:"window" min:"100ms" max:"1h"`
	CredentialsStore  string        `name:"credentials-store" oneof:"sealed,openbao,vault"`
}

// DefaultWorker returns the defaults of all settings that have one.
func DefaultWorker() Worker {
	var w Worker
	value := reflect.ValueOf(&w).Elem()
	for i := range value.NumField() {
		tag := value.Type().Field(i).Tag
		if text := tag.Get("default"); text != "" {
			r := newRule(tag.Get("name"), tag)
			r.check = "" // the defaults are right, and a program has checks of its own
			if err := (Program{}).assign(r, value.Field(i), text); err != nil {
				panic(err) // a test reads all defaults
			}
		}
	}
	return w
}

// Check compares the settings with each other. The values of each were checked when
// they were read.
func (w *Worker) Check() error {
	var errs []error
	wrong := func(setting string, value time.Duration, want string, bound time.Duration) {
		errs = append(errs, &Error{Setting: setting, Value: value.String(), Want: fmt.Sprintf(want, bound)})
	}
	if w.RequestDeadline >= w.Lease {
		wrong("request-deadline", w.RequestDeadline, "must be shorter than --lease (%s): a request must end before another worker may claim its operation", w.Lease)
	}
	if w.QuietPeriod < w.Slack {
		wrong("quiet-period", w.QuietPeriod, "must be at least --slack (%s): a request may arrive that long after its deadline", w.Slack)
	}
	switch {
	case w.AddressCoolDown < 0 || w.AddressCoolDown >= w.MaximumAge:
		wrong("address-cool-down", w.AddressCoolDown, "must be 0s, or shorter than --maximum-age (%s): an invitation that waits longer expires", w.MaximumAge)
	case w.InboxRetention != 0 && w.AddressCoolDown > w.InboxRetention:
		wrong("address-cool-down", w.AddressCoolDown, "must be at most --inbox-retention (%s): older invitations are not known any more", w.InboxRetention)
	}
	if n := len(w.RemindAfter); n > 0 && w.InboxRetention != 0 && w.RemindAfter[n-1] > w.InboxRetention {
		wrong("remind-after", w.RemindAfter[n-1], "must be at most --inbox-retention (%s): older invitations are not known any more", w.InboxRetention)
	}
	return errors.Join(append(errs, w.CheckTopics())...)
}

// Topic is the topic of an event of the contract.
func (w *Worker) Topic(event string) string {
	if topic, ok := w.Topics[event]; ok {
		return topic
	}
	return event
}

// CheckTopics refuses two events on one topic: a reader could not tell them apart, and
// an input topic would contain results.
func (w *Worker) CheckTopics() error {
	var errs []error
	seen := map[string]string{}
	for _, event := range slices.Concat(schemas.InputTypes(), schemas.OutputTypes()) {
		topic := w.Topic(event)
		if other, ok := seen[topic]; ok {
			errs = append(errs, &Error{Setting: "topic", Value: topic, Want: fmt.Sprintf("is the topic of both %s and %s; each needs its own", other, event)})
		}
		seen[topic] = event
	}
	return errors.Join(errs...)
}
