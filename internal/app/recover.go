package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/recovery"
)

// memberTimeout is how long a recovery waits until the group removes a worker that died.
const memberTimeout = 45 * time.Second

// RecoverOptions configure a recovery.
type RecoverOptions struct {
	Options
	Actor      string // for the audit trail
	AcceptLoss bool   // continue although topics no longer hold all records
	Force      bool   // recover although nothing shows that the journal was restored
}

// Recover opens the journal, connects to Kafka and runs [recovery.Run]. It has the
// journal exclusively.
func Recover(ctx context.Context, o RecoverOptions) (r recovery.Report, err error) {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := o.check(); err != nil {
		return r, err
	}
	closing := &teardown{log: log}
	defer func() { err = errors.Join(err, closing.close()) }()
	replay := &recovery.ReplayClock{}
	planner := onboarding.NewPlanner(onboarding.PlannerOptions{CoolDown: o.CoolDown, Source: source, Format: o.EventFormat, Now: replay.Now})
	at, err := journalAt(o.JournalURL)
	if err != nil {
		return r, err
	}
	if !at.exists(ctx) {
		return r, at.errNoJournal("put the copy there first. Without a copy, start `run` once, which creates an empty journal and exits; then use `journal recover --start earliest`")
	}
	j, err := at.open(ctx, openOptions{planner: replay.Planner(planner), logger: log, recover: true})
	if err != nil {
		return r, at.explain(err)
	}
	closing.add("journal", j.Close)
	if err := checkKeyset(ctx, j.Identity(), j, o.Keyset); err != nil {
		return r, err
	}
	if err := useKeys(ctx, j, o.Keyset); err != nil {
		return r, err
	}
	unbound := o.Keyset
	o.Keyset = BindKeys(j, o.Keyset)
	authenticate(j, o.Keyset)
	if err := ensureAccounts(ctx, j, o.Accounts); err != nil {
		return r, err
	}
	conn, err := kafka.New(o.Kafka)
	if err != nil {
		return r, err
	}
	if _, _, err := checkTopics(ctx, &o.Options, conn); err != nil {
		return r, err
	}
	results, err := existingResults(ctx, &o.Options, conn)
	if err != nil {
		return r, err
	}
	intake, err := newConsumer(&o.Options, j, nil, conn, prometheus.NewRegistry(), nil, log, memberTimeout)
	if err != nil {
		return r, err
	}
	quiet := time.Duration(0)
	for _, a := range o.Accounts {
		quiet = max(quiet, a.Window+o.Slack)
	}
	log.Info("recovering the journal", "journal", o.JournalURL, "group", o.KafkaGroup)
	return recovery.Run(ctx, intake, recovery.Options{
		Journal: j, Topic: o.Topic, Results: results, RemindAfter: o.RemindAfter,
		SealCheck:      func(identity uuid.UUID) ([]byte, error) { return unbound.Seal([]byte(keysetWord), checkRow(identity)) },
		UnknownOutcome: o.UnknownOutcome, Source: source, Format: o.EventFormat, DestroyAfter: o.destroyAfter(), Logger: log,
		Actor: o.Actor, QuietFor: quiet, AcceptLoss: o.AcceptLoss, Force: o.Force,
	})
}
