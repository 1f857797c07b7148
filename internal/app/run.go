package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/onboarding"
)

const (
	reachWithin    = 10 * time.Second     // for the brokers' first response at the start
	flushWithin    = 3 * time.Second      // for the last results after the drain
	teardownWithin = 10 * time.Second     // for closing everything
	source         = "/invoicebox-worker" // CloudEvents source of the published events
)

// Run runs the service. It returns nil after ctx has ended and everything has been
// drained, else the first error that an operator has to resolve.
//
// Everything is wired here, in order of dependency, and closed in reverse. Local checks
// come first: they report a mistake without waiting for the network.
func Run(ctx context.Context, o Options) (err error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := o.check(); err != nil {
		return err
	}
	closing, started := &teardown{log: log}, false
	defer func() {
		if ctx.Err() != nil && !started {
			// A start that was interrupted because ctx ended is no failure.
			log.Info("stopped before the start was complete")
			err = nil
		}
		err = errors.Join(err, closing.close())
	}()

	registry := newRegistry(o.Version)
	registerLog(registry, o.LogLinesNotWritten)
	tracer, err := startTraces(&o, registry, log, closing)
	if err != nil {
		return err
	}
	state := newHealth()
	address, err := serve(ctx, o.Listen, state.handler(registry, o.Pprof, log), log, closing)
	if err != nil {
		return err
	}

	callers, err := listenForCredentials(ctx, &o, closing)
	if err != nil {
		return err
	}

	planner := onboarding.NewPlanner(onboarding.PlannerOptions{CoolDown: o.CoolDown, Source: source, Format: o.EventFormat, Now: time.Now})
	if err := checkFirstRun(ctx, &o); err != nil {
		return err
	}
	opened, err := openJournal(ctx, &o, engine.LogAttention(planner, log), log)
	if err != nil {
		return err
	}
	jrnl := o.Hooks.wrapJournal(opened)
	closing.add("journal", jrnl.Close)
	if err := checkKeyset(ctx, jrnl.Identity(), jrnl, o.Keyset); err != nil {
		return err
	}
	if err := useKeys(ctx, jrnl, o.Keyset); err != nil {
		return err
	}
	unbound := o.Keyset
	o.Keyset = BindKeys(jrnl, o.Keyset)
	authenticate(jrnl, o.Keyset)
	if err := ensureAccounts(ctx, jrnl, o.Accounts); err != nil {
		return err
	}
	stats := newStatsCollector(jrnl)
	registry.MustRegister(stats)
	room := newCapacityMonitor(&o, jrnl, log)
	room.register(registry)
	closing.add("gauges", startGauges(ctx, log, stats, room))

	conn, err := kafka.New(o.Kafka)
	if err != nil {
		return err
	}
	_, missing, err := checkTopics(ctx, &o, conn)
	if err != nil {
		return err
	}
	if missing != "" {
		log.Warn("a topic of results is missing", "detail", missing)
	}
	if warning := plaintextWarning(&o, conn); warning != "" {
		log.Warn("connections to brokers without TLS", "risk", warning)
	}
	intake, err := newConsumer(&o, jrnl, room.ready, conn, registry, tracer, log, 0)
	if err != nil {
		return err
	}
	// Nothing in the journal is executed, sent or published before the group's offsets
	// show that the journal is not an older one.
	probe := newJournalProbe(&o, jrnl, opened)
	state.add("journal", withEffect("nothing is read, sent or published", probe.ready))
	state.add("consumer", withEffect("no event is read; operations in the journal continue", func(context.Context) (bool, string) { return intake.Ready() }))
	if err := intake.Prepare(ctx); err != nil {
		return err
	}
	stores, err := openStores(&o, openbao.NewMetrics(registry), log)
	if err != nil {
		return err
	}
	if err := serveCredentials(ctx, &o, callers, jrnl, stores, registry, log, closing); err != nil {
		return err
	}
	accounts, err := newAccounts(&o, log, closing)
	if err != nil {
		return err
	}
	if err := checkTokens(ctx, &o, accounts, jrnl, log); err != nil {
		return err
	}
	if !o.Hooks.Proven {
		if err := proveAccounts(ctx, jrnl, accounts); err != nil {
			return err
		}
	}
	pool, err := newEngine(&o, jrnl, stores, accounts, registry, tracer, log)
	if err != nil {
		return err
	}
	pruner, err := newPruner(&o, jrnl, conn, registry, log)
	if err != nil {
		return err
	}
	relay, err := newRelay(&o, jrnl, conn, registry, tracer, log)
	if err != nil {
		return err
	}

	state.add("relay", withEffect("results wait in the journal", func(context.Context) (bool, string) { return relay.Ready() }))
	_, callsReserve := o.reservedBytes()
	resealer := engine.NewResealer(engine.ResealerConfig{Journal: jrnl, Keys: o.Keyset, Unbound: unbound, Metrics: registry, Logger: log})
	keeper := newKeyKeeper(&o, jrnl, resealer.KeysChanged, log)
	o.Files = append(o.Files, keeper)
	reports := &reporter{journal: jrnl, pool: pool, keys: keeper.report, worker: uuid.New(), reserve: callsReserve, short: probe.short}
	for _, a := range o.Accounts {
		state.note("account "+a.Name, reports.ready(a.Name))
	}
	state.watch("consumer", intake.Idle, probe.ready)
	state.watch("dispatcher", pool.Idle, probe.ready)
	state.started()
	started = true
	log.Info("started", startLine(&o, jrnl.Identity().String(), address)...)
	watching, stopWatching := context.WithCancel(ctx)
	var announcing sync.WaitGroup
	defer announcing.Wait()
	defer stopWatching()
	if o.Ready != nil {
		announcing.Go(func() {
			notifyReady(watching, func() { o.Ready(address) }, intake.Ready, relay.Ready)
		})
	}
	announcing.Go(func() { _ = runComponent(watching, log, "pruner", pruner.Run) })
	announcing.Go(func() {
		_ = runComponent(watching, log, "replays", func(ctx context.Context) error { return intake.RunReplays(ctx, jrnl) })
	})
	announcing.Go(func() { _ = runComponent(watching, log, "resealer", resealer.Run) })
	state.add("files", filesReady(o.Files))
	go watchFiles(watching, o.Files)
	if stores.vault != nil {
		announcing.Go(func() { _ = runComponent(watching, log, "credential store", stores.vault.Keep) })
	}
	announcing.Go(func() { _ = runComponent(watching, log, "report", reports.run) })
	go watchTokens(watching, o.Accounts, pool.TokenChanged)
	return supervise(ctx, log, state, component{"consumer", intake.Run}, component{"pool", runBeside(pool.Run, keeper.run)}, component{"relay", relay.Run})
}
