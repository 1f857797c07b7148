package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/connlimit"
	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/tracing"
	"invoicebox-worker/invoicebox"
	"invoicebox-worker/producer"
	"invoicebox-worker/schemas"
)

func newRegistry(version string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "invoicebox_worker_build_info", Help: "1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	info.Set(1)
	registry.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// registerLog registers the counter of lost log lines; nil: there is no counter.
func registerLog(r prometheus.Registerer, notWritten func() uint64) {
	if notWritten == nil {
		return
	}
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "invoicebox_worker_log_lines_not_written_total", Help: "Log lines that could not be written, because the log has no reader, the disk is full, or the reader is too slow.",
	}, func() float64 { return float64(notWritten()) }))
}

// serve opens the listener and serves at once, so that probes see that the process is
// alive before it is ready. It returns the address.
func serve(ctx context.Context, address string, handler http.Handler, log *slog.Logger, closing *teardown) (string, error) {
	if address == "" {
		return "", nil
	}
	listener, err := listen(ctx, address)
	if err != nil {
		return "", err
	}
	server := newServer(connlimit.LocalNames(listener, handler), log)
	go func() {
		if err := connlimit.Serve(server, listener, listenBounds()); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the listener for metrics and health has failed", "address", address, "err", err.Error())
		}
	}()
	closing.add("listener", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			return server.Close()
		}
		return nil
	})
	return listener.Addr().String(), nil
}

func ensureAccounts(ctx context.Context, j journal.Journal, accounts []Account) error {
	for i, a := range accounts {
		err := j.EnsureAccount(ctx, a.Name, a.PartnerID)
		if errors.Is(err, journal.ErrPartnerDiffers) {
			name := "partner-id"
			if len(accounts) > 1 {
				name = fmt.Sprintf("accounts[%d].partner-id", i)
			}
			return &config.Error{Setting: name, Value: a.PartnerID, Want: fmt.Sprintf("must be the partner id that the journal has for account %q; for another partner id add an account with another name (accounts in the file of --config)", a.Name)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newAccounts creates the clients of all accounts, over one set of connections.
func newAccounts(o *Options, log *slog.Logger, closing *teardown) ([]engine.Account, error) {
	transport := newTransport(o)
	closing.add("connections to Invoicebox", func() error { transport.Close(); return nil })
	var accounts []engine.Account
	for _, a := range o.Accounts {
		client, err := newClient(o, a, transport, log.With("account", a.Name))
		if err != nil {
			return nil, err
		}
		accounts = append(accounts, engine.Account{Name: a.Name, Client: client, OwnToken: a.Token, Requests: a.RequestsPerWindow, Window: a.Window})
	}
	return accounts, nil
}

// newTransport creates the connections to Invoicebox, for run and check alike.
func newTransport(o *Options) *invoicebox.Transport {
	return invoicebox.NewTransport(invoicebox.TransportOptions{Dial: o.Hooks.DialInvoicebox, RootCAs: o.InvoiceboxCAs})
}

func newEngine(o *Options, j journal.Journal, stores *credentialStores, accounts []engine.Account, registry prometheus.Registerer, tracer *tracing.Tracer, log *slog.Logger) (*engine.Engine, error) {
	movable := map[string]engine.Store{}
	for name, store := range stores.named {
		movable[name] = store
	}
	return engine.New(engine.Config{
		Journal: j, Keys: o.Keyset, Credentials: stores.all, Stores: movable, Accounts: accounts,
		EgressRequests: o.EgressRequestsPerWindow, EgressWindow: o.egressWindow(), Concurrency: o.Concurrency,
		RequestDeadline: o.RequestDeadline, Lease: o.Lease, QuietPeriod: o.QuietPeriod, UnknownOutcome: o.UnknownOutcome, Slack: o.Slack,
		VerifyEvery: o.verifyEvery(), DestroyAfter: o.destroyAfter(), RemindAfter: o.RemindAfter, MaximumAge: o.MaximumAge, AddressCoolDown: o.AddressCoolDown, DrainTime: o.drainTime(), Owner: owner(), Source: source, Format: o.EventFormat,
		Metrics: engine.NewMetrics(registry), Logger: log, Tracer: tracer,
	})
}

func newConsumer(o *Options, j journal.Journal, room func() (bool, string), conn *kafka.Cluster, registry prometheus.Registerer, tracer *tracing.Tracer, log *slog.Logger, foreignMemberTimeout time.Duration) (*consumer.Consumer, error) {
	c, err := consumerConfig(o, conn, log)
	if err != nil {
		return nil, err
	}
	identity := j.Identity().String()
	if o.ForgetJournal == identity {
		c.OnJournalLost = func(ctx context.Context) error { return replaceLostJournal(ctx, j, identity) }
	}
	c.OnFirstRun = func(ctx context.Context) error { return startAboveOlder(ctx, o, j, conn, log) }
	c.Inbox, c.CanFetch, c.LostHint = j, room, lostHint(o, identity)
	c.Metrics, c.Tracer = consumer.NewMetrics(registry), tracer
	c.ForeignMemberTimeout = foreignMemberTimeout
	c.DeadLetters = journal.LetterBounds{Number: int64(o.DeadLetterLimit), Bytes: int64(o.DeadLetterSize)}
	return consumer.New(c)
}

// consumerConfig is what a consumer needs to read the input topics.
func consumerConfig(o *Options, conn *kafka.Cluster, log *slog.Logger) (c consumer.Config, err error) {
	start, err := consumer.ParseStart(o.Start)
	if err != nil {
		return c, startError(o)
	}
	decoder, topics, err := newDecoder(o)
	if err != nil {
		return c, err
	}
	return consumer.Config{
		Kafka: conn, Group: o.KafkaGroup, Topics: topics, Decoder: decoder, Keys: o.Keyset, Start: start,
		Source: source, Format: o.EventFormat, Logger: log, FetchMemory: int(o.FetchMemory),
	}, nil
}

// newDecoder creates the decoder of the input topics.
func newDecoder(o *Options) (decoder *schemas.Decoder, topics []string, err error) {
	types := map[string]string{}
	var names []string
	for _, t := range schemas.InputTypes() {
		types[o.Topic(t)] = t
		topics = append(topics, o.Topic(t))
	}
	for _, a := range o.Accounts {
		names = append(names, a.Name)
	}
	decoder, err = schemas.NewDecoder(schemas.DecoderOptions{
		Types: types, Accounts: names, DefaultAccount: o.defaultAccount(), IDHeader: o.IDHeader, IDMember: o.IDMember,
	})
	return decoder, topics, err
}

func startError(o *Options) error {
	return &config.Error{Setting: "start", Value: o.Start, Want: "must be earliest, latest or a time such as 2026-01-31T00:00:00Z"}
}

func newRelay(o *Options, j journal.Journal, conn *kafka.Cluster, registry prometheus.Registerer, tracer *tracing.Tracer, log *slog.Logger) (*producer.Relay, error) {
	return producer.New(producer.Config{
		Kafka: conn, Outbox: j, Authentic: authentic(o.Keyset), Topics: o.Topics, FlushTimeout: flushWithin, Metrics: producer.NewMetrics(registry), Logger: log, Tracer: tracer,
	})
}

// defaultAccount is the account of an event that names none: the one with the name
// "default", else the first.
func (o *Options) defaultAccount() string {
	for _, a := range o.Accounts {
		if a.Name == "default" {
			return a.Name
		}
	}
	return o.Accounts[0].Name
}

func (o *Options) drainTime() time.Duration {
	if o.DrainTime == 0 {
		return o.RequestDeadline + 5*time.Second
	}
	return o.DrainTime
}

// verifyEvery converts the setting, in which 0 is off.
func (o *Options) verifyEvery() time.Duration {
	if o.VerifyEvery == 0 {
		return onboarding.NoVerifyEvery
	}
	return o.VerifyEvery
}

// destroyAfter converts the setting, in which 0 is never.
func (o *Options) destroyAfter() time.Duration {
	if o.DestroyAfter == 0 {
		return onboarding.NeverDestroy
	}
	return o.DestroyAfter
}

func (o *Options) egressWindow() time.Duration {
	if o.EgressWindow == 0 {
		return 30 * time.Second
	}
	return o.EgressWindow
}

func userAgent(version string) string { return "invoicebox-worker/" + version + " (Kafka; Go)" }

// owner names this process for operators.
func owner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "/" + strconv.Itoa(os.Getpid())
}

// startLine returns the attributes of the first log line. It contains no secret.
func startLine(o *Options, identity, address string) []any {
	var accounts []string
	for _, a := range o.Accounts {
		accounts = append(accounts, fmt.Sprintf("%s: %d requests in %s", a.Name, a.RequestsPerWindow, a.Window))
	}
	return []any{
		"version", o.Version, "journal", o.JournalURL, "identity", identity, "group", o.KafkaGroup,
		"brokers", strings.Join(o.Kafka.Brokers, ","), "topics", strings.Join(o.UsedTopics(), ","),
		"invoicebox", o.InvoiceboxURL, "accounts", strings.Join(accounts, "; "), "concurrency", o.Concurrency,
		"credentials_store", o.credentialsStore(), "egress_requests", o.EgressRequestsPerWindow, "listen", address,
	}
}
