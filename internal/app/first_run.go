package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"invoicebox-worker/consumer"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/kafka"
)

// groupWithin bounds how long `check` waits for the group's offsets.
const groupWithin = 15 * time.Second

// A positionStore is a journal that can replace a lost one.
type positionStore interface {
	RaiseFloor(ctx context.Context, floor int64) error
	AssumeRateLimitUsed(ctx context.Context) error
	AppendAudit(ctx context.Context, entries ...journal.AuditEntry) error
}

// replaceLostJournal prepares a new journal that replaces a lost one. Sequences and
// versions begin above all that the lost one can have used, and no request is sent
// while the limits may be used up. The floor is the time in milliseconds: no shop has
// had an event in each millisecond since 1970.
func replaceLostJournal(ctx context.Context, j positionStore, identity string) error {
	now := time.Now()
	if err := j.RaiseFloor(ctx, now.UnixMilli()); err != nil {
		return err
	}
	if err := j.AssumeRateLimitUsed(ctx); err != nil {
		return err
	}
	return j.AppendAudit(ctx, journal.AuditEntry{
		At: now, Actor: owner(), Act: "journal_forget", Subject: identity,
		Detail: fmt.Sprintf("--forget-journal: the group has committed offsets that this journal has never read; sequences and versions begin above %d", now.UnixMilli()),
	})
}

// startAboveOlder is for a journal that has never read anything, whose group has committed
// nothing. An earlier journal may have existed: a group's offsets expire, and a group can
// be renamed. If the result topics contain or contained records, sequences and versions
// begin above all that another journal can have used, and no request is sent while the
// limits may be used up.
func startAboveOlder(ctx context.Context, o *Options, j positionStore, conn *kafka.Cluster, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, groupWithin)
	defer cancel()
	results, err := existingResults(ctx, o, conn)
	if err != nil {
		return err
	}
	written, err := consumer.HasRecords(ctx, conn, o.topicsOf(results))
	if err != nil || !written {
		return err
	}
	floor := time.Now().UnixMilli()
	log.Warn("new journal over older results; sequences and versions begin above the floor, no request for one window and the slack", "floor", floor)
	if err := j.RaiseFloor(ctx, floor); err != nil {
		return err
	}
	return j.AssumeRateLimitUsed(ctx)
}

// lostHint is the end of the error for a new journal whose group has committed offsets.
func lostHint(o *Options, identity string) string {
	hint := "; to abandon the lost journal with its tokens and open operations instead, add --forget-journal " + identity
	if o.ForgetJournal != "" {
		hint += " (" + strconv.Quote(o.ForgetJournal) + " names another journal)"
	}
	return hint
}

// checkFirstRun refuses a first run without --start before the journal is created, so that
// no empty journal remains. A journal that replaces a lost one is created nevertheless,
// because the refusal names it.
func checkFirstRun(ctx context.Context, o *Options) error {
	at, err := journalAt(o.JournalURL)
	if err != nil || at.exists(ctx) {
		return err
	}
	start, err := consumer.ParseStart(o.Start)
	if err != nil {
		return startError(o)
	}
	conn, err := kafka.New(o.Kafka)
	if err != nil {
		return err
	}
	if _, _, err := checkTopics(ctx, o, conn); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, groupWithin)
	defer cancel()
	none := func(context.Context) ([]journal.Position, error) { return nil, nil }
	if err := consumer.CheckGroup(ctx, conn, o.KafkaGroup, o.inputTopics(), start, none); errors.Is(err, consumer.ErrStartRequired) {
		return err
	}
	return nil
}

// checkGroup checks whether the journal is the one that the group has worked with.
func checkGroup(ctx context.Context, o Options, conn *kafka.Cluster) CheckResult {
	const name = "group"
	ctx, cancel := context.WithTimeout(ctx, groupWithin)
	defer cancel()
	at, err := journalAt(o.JournalURL)
	if err != nil {
		return CheckResult{name, CheckWarning, "not compared, because the journal cannot be opened"}
	}
	positions := func(context.Context) ([]journal.Position, error) { return nil, nil }
	switch j, err := at.open(ctx, openOptions{readOnly: true}); {
	case err == nil:
		defer func() { _ = j.Close() }()
		positions = j.Positions
	case at.exists(ctx):
		return CheckResult{name, CheckWarning, "not compared, because the journal cannot be opened"}
	}
	inputs := o.inputTopics()
	start, err := consumer.ParseStart(o.Start)
	if err != nil {
		return CheckResult{name, CheckFailed, startError(&o).Error()}
	}
	err = consumer.CheckGroup(ctx, conn, o.KafkaGroup, inputs, start, positions)
	switch {
	case errors.Is(err, consumer.ErrStartRequired):
		return CheckResult{name, CheckFailed, "`run` needs a start position: " + strings.TrimPrefix(err.Error(), "consumer: ")}
	case errors.Is(err, consumer.ErrJournalLost), errors.Is(err, consumer.ErrOffsetsAhead):
		return CheckResult{name, CheckFailed, strings.TrimPrefix(err.Error(), "consumer: ")}
	case err != nil:
		return CheckResult{name, CheckFailed, fmt.Sprintf("the offsets of group %s cannot be read: %v", o.KafkaGroup, err)}
	}
	return CheckResult{name, CheckOK, o.KafkaGroup + " has committed nothing beyond the journal"}
}

// besideWorker adds the state of the account to the result of its token check, if a
// running worker checks the token. A paused account fails the check, an active one passes.
func besideWorker(ctx context.Context, o Options, account string, r CheckResult) CheckResult {
	j, err := OpenReadOnly(ctx, o.JournalURL, nil)
	if err != nil {
		return r
	}
	defer func() { _ = j.Close() }()
	situation, err := ReadSituation(ctx, j)
	if err != nil {
		return r
	}
	known, ok := situation.accounts[account]
	circuit := situation.Circuit(known)
	if _, works := situation.statuses[account]; !ok || !works {
		r.Detail += "; no running worker has reported account " + account + " yet"
		return r
	}
	if circuit.State == journal.CircuitActive || circuit.State == "" {
		r.Verdict = CheckOK
		r.Detail += "; account " + account + " is open"
		return r
	}
	d := situation.DescribeCircuit(known)
	r.Detail += "; account " + account + " is " + d.Text
	if d.Command != "" {
		r.Detail += " (`" + d.Command + "`)"
	}
	if circuit.State == journal.CircuitPaused {
		r.Verdict = CheckFailed
	}
	return r
}
