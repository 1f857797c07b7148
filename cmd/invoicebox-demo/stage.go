package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"invoicebox-worker/cmd/internal/worker"
	"invoicebox-worker/internal/kafkaconn"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// The limit on the stage: smaller than in life, so that one sees it at work.
const (
	partitions = 3
	limit      = 20
	window     = 4 * time.Second
)

// A stage is the scenery: broker, sandbox, worker, all in this process.
type stage struct {
	dir     string
	logs    *os.File
	broker  *kfake.Cluster
	sandbox *sandbox.Sandbox
	servers []*http.Server
	api     string
	admin   string
	metrics string // the worker's address, known when it is ready
	options worker.Options
	keys    *keyset.Set
	ready   chan struct{}
}

// build opens everything but the worker, which run starts.
func build(profile sandbox.Profile, seed uint64) (_ *stage, err error) {
	s := &stage{ready: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "invoicebox-demo-"); err != nil {
		return nil, err
	}
	if s.logs, err = os.Create(filepath.Join(s.dir, "worker.log")); err != nil {
		return nil, err
	}
	options := []kfake.Opt{kfake.NumBrokers(1)}
	options = append(options, kfake.SeedTopics(partitions, append(schemas.InputTypes(), schemas.OutputTypes()...)...))
	if s.broker, err = kfake.NewCluster(options...); err != nil {
		return nil, fmt.Errorf("the embedded broker: %w", err)
	}
	if s.sandbox, err = sandbox.New(sandbox.Options{Profile: profile, Seed: seed, Latency: 120 * time.Millisecond, RequestsPerWindow: limit, EgressPerWindow: 10 * limit, Window: window,
		// The stories need a wrong code to be called one: hostile would draw a form
		// of refusal that says nothing about the code.
		RefusalStatus: http.StatusUnprocessableEntity,
	}); err != nil {
		return nil, err
	}
	if s.api, err = s.serve(s.sandbox.API()); err != nil {
		return nil, err
	}
	if s.admin, err = s.serve(s.sandbox.Admin()); err != nil {
		return nil, err
	}
	if s.keys, err = keyset.Create(filepath.Join(s.dir, "keyset.json")); err != nil {
		return nil, err
	}
	s.options = s.settings()
	return s, nil
}

// settings are the worker's. Its times are shorter than the defaults, so that
// waiting fits into a minute.
func (s *stage) settings() worker.Options {
	o := worker.Defaults()
	o.Version = "demo"
	o.Kafka = kafkaconn.Config{Brokers: s.broker.ListenAddrs()}
	o.JournalURL = "sqlite:" + s.journal()
	o.Keyset = s.keys
	o.InvoiceboxURL = s.api
	token := secret.New(sandbox.DefaultToken)
	o.Accounts = []worker.Account{{
		Name: "default", PartnerID: sandbox.DefaultPartnerID,
		Token: func() secret.String { return token }, RequestsPerWindow: limit, Window: window,
	}}
	o.Start = "earliest" // the platform does not wait for the worker
	o.Concurrency = 8
	o.RequestDeadline, o.Lease = 3*time.Second, 6*time.Second
	o.Slack, o.QuietPeriod = time.Second, 2*time.Second
	o.Listen = "127.0.0.1:0"
	o.Ready = func(addr string) {
		s.metrics = addr
		close(s.ready)
	}
	o.Logger = slog.New(slog.NewTextHandler(s.logs, nil))
	return o
}

func (s *stage) journal() string { return filepath.Join(s.dir, "journal.db") }

func (s *stage) serve(h http.Handler) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	s.servers = append(s.servers, server)
	go func() { _ = server.Serve(l) }()
	return "http://" + l.Addr().String(), nil
}

// run runs the worker until ctx ends, and drains it.
func (s *stage) run(ctx context.Context) error { return worker.Run(ctx, s.options) }

// close ends everything and removes the folder.
func (s *stage) close() error {
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Close())
	}
	if s.broker != nil {
		s.broker.Close()
	}
	if s.logs != nil {
		errs = append(errs, s.logs.Close())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}
