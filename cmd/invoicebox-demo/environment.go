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
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// The rate limit is smaller than that of Invoicebox, so that it is reached.
const (
	partitions = 3
	limit      = 20
	window     = 4 * time.Second
)

// An environment is what the demo runs: broker and sandbox in this process, and the worker.
type environment struct {
	dir     string
	broker  *kfake.Cluster
	sandbox *sandbox.Sandbox
	servers []*http.Server
	api     string
	admin   string
	metrics atomic.Value // string: the worker's address, known when it is ready
	worker  workerSettings
	keys    *keyset.Set
	ready   chan struct{}
}

// build opens everything but the worker, which run starts.
func build(profile sandbox.Profile, seed uint64) (_ *environment, err error) {
	s := &environment{ready: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.dir, err = os.MkdirTemp("", "invoicebox-demo-"); err != nil {
		return nil, err
	}
	options := []kfake.Opt{kfake.NumBrokers(1)}
	options = append(options, kfake.SeedTopics(partitions, append(schemas.InputTypes(), schemas.OutputTypes()...)...))
	if s.broker, err = kfake.NewCluster(options...); err != nil {
		return nil, fmt.Errorf("the embedded broker: %w", err)
	}
	if s.sandbox, err = sandbox.New(sandbox.Options{Profile: profile, Seed: seed, Latency: 120 * time.Millisecond, RequestsPerWindow: limit, EgressPerWindow: 10 * limit, Window: window,
		// The scenarios need a wrong code to be called one: hostile would draw a form
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
	if s.keys, err = (keyset.File{Path: s.keyset()}).Create(context.Background()); err != nil {
		return nil, err
	}
	s.worker = workerSettings{Brokers: s.broker.ListenAddrs(), Journal: s.journal(), Keyset: s.keyset(), API: s.api, Log: s.log()}
	return s, nil
}

func (s *environment) journal() string { return filepath.Join(s.dir, "journal.db") }
func (s *environment) keyset() string  { return filepath.Join(s.dir, "keyset.json") }
func (s *environment) log() string     { return filepath.Join(s.dir, "worker.log") }

func (s *environment) serve(h http.Handler) (string, error) {
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

// away is how long the killed worker stays away.
const away = 1500 * time.Millisecond

// run runs the worker until ctx ends, and drains it. In the middle of the demo,
// while an activation is on its way, the worker is killed and started again.
func (s *environment) run(ctx context.Context, b *progress) error {
	p, err := startWorker(s.worker)
	if err != nil {
		return err
	}
	killed, began := false, false
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return p.stop()
		case err := <-p.ended:
			return errors.Join(errors.New("the worker has ended"), err)
		case address, ok := <-p.ready:
			p.ready = nil
			if !ok {
				continue // it has ended
			}
			s.metrics.Store(address)
			if !began {
				began = true
				close(s.ready)
				continue
			}
			b.report("the worker is ready again and goes on where its journal stands")
		case <-look.C:
			if killed || !began || !b.timeToKill(s.sandbox.Requests()) {
				continue
			}
			killed = true
			p.kill()
			b.killed(s.sandbox.Requests())
			if !sleep(ctx, away) {
				return nil
			}
			b.report("the worker is started again")
			b.report("its Kafka group waits 10 s for the dead one")
			if p, err = startWorker(s.worker); err != nil {
				return err
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// close ends everything and removes the folder.
func (s *environment) close() error {
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Close())
	}
	if s.broker != nil {
		s.broker.Close()
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}
