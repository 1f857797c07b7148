package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
)

// Limits of what an operator writes, in bytes.
const (
	maxActor = 128
	maxNote  = 500
)

const lookEvery = 100 * time.Millisecond // for the end of what was asked for

// actionFlags are the flags of every command that asks a worker to act.
type actionFlags struct {
	outputFlag
	Actor  string        `name:"actor" group:"command" placeholder:"NAME" help:"Who asks, for the audit trail; else the system's user and host."`
	Reason string        `name:"reason" group:"command" placeholder:"TEXT" help:"Why, for the audit trail; never a secret."`
	Wait   time.Duration `name:"wait" group:"command" default:"10s" placeholder:"TIME" help:"How long to wait for the worker to execute the request, and then for the outcome of the operation (default ${default}); 0s: do not wait. The request stays in the journal in any case."`
}

// check reports a wrong flag.
func (c *actionFlags) check() error {
	if c.Wait < 0 || c.Wait > time.Hour {
		return &usageError{"--wait must be 0s to 1h"}
	}
	return checkActor(&c.Actor, "--reason", c.Reason)
}

// checkActor sets the default of the actor, and checks what the operator wrote for the
// audit trail.
func checkActor(actor *string, flag, note string) error {
	if *actor == "" {
		*actor = printable(currentUser())
	}
	for _, text := range []struct {
		flag, value string
		limit       int
	}{{"--actor", *actor, maxActor}, {flag, note, maxNote}} {
		// Bytes that are not UTF-8 are read as the replacement character.
		if len(text.value) > text.limit || strings.ContainsFunc(text.value, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
			return &usageError{fmt.Sprintf("%s must be printable text of at most %d bytes on one line", text.flag, text.limit)}
		}
	}
	return nil
}

// printable removes invisible characters from a name of the system.
func printable(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
	for len(name) > maxActor {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return name
}

type actionJSON struct {
	ID         string     `json:"id"`
	Action     string     `json:"action"`
	Account    string     `json:"account"`
	Operation  string     `json:"operation,omitzero"`
	Shop       string     `json:"shop,omitzero"`
	Actor      string     `json:"actor"`
	Reason     string     `json:"reason,omitzero"`
	MerchantID string     `json:"merchantId,omitzero"`
	AskedAt    *time.Time `json:"askedAt"`
	State      string     `json:"state"`
	Result     string     `json:"result,omitzero"`
	Detail     string     `json:"detail,omitzero"`
	EndedAt    *time.Time `json:"endedAt,omitzero"`

	// Of an action on an operation, after its execution.
	Outcome *operationJSON `json:"outcome,omitzero"`
}

func actionView(i journal.Intent) actionJSON {
	return actionJSON{
		ID: i.UUID.String(), Action: i.Act, Account: i.Account, Operation: idText(i.Operation), Shop: i.Shop, Actor: i.Actor, Reason: i.Note,
		MerchantID: i.MerchantID, AskedAt: timeJSON(i.At), State: i.State.String(), Result: i.Result, Detail: i.Detail, EndedAt: timeJSON(i.Ended),
	}
}

// request writes an intent into the journal and returns its id. Seal, if not nil, seals
// the secret of the intent; it is called when the rest of the intent is known. The MAC of
// the intent needs the worker's keyset.
func (c *actionFlags) request(ctx context.Context, s *settings, j journal.Journal, i journal.Intent, seal func(*keyset.Set, *journal.Intent) error) (uuid.UUID, error) {
	return c.requestAbout(ctx, s, j, i, onboarding.ActionSubject(i), seal)
}

// requestAbout is request with the subject of the audit entry.
func (c *actionFlags) requestAbout(ctx context.Context, s *settings, j journal.Journal, i journal.Intent, subject string, seal func(*keyset.Set, *journal.Intent) error) (uuid.UUID, error) {
	keys, err := s.keysetOf(ctx, j)
	if err != nil {
		return uuid.Nil, err
	}
	i.UUID, i.Actor, i.Note, i.At = uuid.New(), c.Actor, c.Reason, time.Now()
	if seal != nil {
		if err := seal(keys, &i); err != nil {
			return uuid.Nil, err
		}
	}
	if i.MAC, err = keys.Authenticate(keyset.DomainIntent, i.Authentic()...); err != nil {
		return uuid.Nil, err
	}
	detail := i.Note
	if i.MerchantID != "" {
		detail = strings.TrimSpace("merchant id " + i.MerchantID + ", with a token; " + detail)
	}
	err = j.AppendIntent(ctx, i, journal.AuditEntry{At: i.At, Actor: i.Actor, Act: i.Act + ".asked", Subject: subject, Detail: detail})
	if errors.Is(err, journal.ErrTooManyIntents) {
		return i.UUID, fmt.Errorf("%d acts wait for a worker already; nothing was asked for", journal.MaxWaitingIntents)
	}
	if err != nil {
		return i.UUID, fmt.Errorf("nothing was asked for: %w", err)
	}
	return i.UUID, nil
}

// submit writes an intent into the journal, waits for its end, and prints it. An action
// that was refused, or not executed in time, is an error.
func (c *actionFlags) submit(ctx context.Context, s *settings, j journal.Journal, env environment, i journal.Intent, seal func(*keyset.Set, *journal.Intent) error) error {
	asked := time.Now()
	id, err := c.request(ctx, s, j, i, seal)
	if err != nil {
		return err
	}
	ended, err := c.waitForResult(ctx, j, id)
	if err != nil {
		return err
	}
	var refused error
	switch {
	case ended.State == journal.IntentRefused:
		refused = errors.New("refused: " + ended.Detail)
	case ended.State == journal.IntentWaiting && c.Wait > 0:
		refused = fmt.Errorf("no worker has answered within %s: it waits in the journal and is performed as soon as one runs", c.Wait)
	}
	view, outcome := actionView(ended), ""
	if ended.State == journal.IntentPerformed && i.Operation != uuid.Nil && i.Act != string(onboarding.ActionReissue) {
		view.Outcome, outcome = c.outcome(ctx, j, i.Operation, asked)
	}
	return errors.Join(c.write(env.stdout, view, func(w io.Writer) {
		switch ended.State {
		case journal.IntentPerformed:
			_, _ = fmt.Fprintf(w, "%s: %s\n", ended.Result, ended.Detail)
			if outcome != "" {
				_, _ = fmt.Fprintln(w, outcome)
			}
		case journal.IntentWaiting:
			_, _ = fmt.Fprintf(w, "asked for, as %s; a worker performs it\n", ended.UUID)
		}
	}), refused)
}

// outcome waits, at most --wait, for the outcome of an operation after an action. An error
// here does not change that the action was executed.
func (c *actionFlags) outcome(ctx context.Context, j journal.Journal, id uuid.UUID, asked time.Time) (*operationJSON, string) {
	o, obstacles, err := awaitOutcome(ctx, j, journal.OperationRecord{UUID: id}, asked.Add(c.Wait))
	if err != nil {
		return nil, ""
	}
	view := operationView(o)
	view.WaitsFor = obstacleViews(obstacles)
	return &view, describeOutcome(o, obstacles)
}

// waitForResult polls until the intent has ended or the time is over.
func (c *actionFlags) waitForResult(ctx context.Context, j journal.Journal, id uuid.UUID) (journal.Intent, error) {
	over := time.After(c.Wait)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for last := c.Wait == 0; ; {
		list, err := j.Intents(ctx, journal.IntentFilter{UUID: id, Limit: 1})
		if err != nil {
			return journal.Intent{}, fmt.Errorf("it was asked for, as %s, and its end could not be read: %w", id, err)
		}
		if len(list) == 1 && (last || list[0].State != journal.IntentWaiting) {
			return list[0], nil
		}
		select {
		case <-ctx.Done():
			return journal.Intent{}, fmt.Errorf("it was asked for, as %s, and waits for a worker: %w", id, ctx.Err())
		case <-over:
			last = true
		case <-tick.C:
		}
	}
}

// attentionJSON is the row of the table of attention reasons for an operation.
type attentionJSON struct {
	Certain   string   `json:"certain"`
	Uncertain string   `json:"uncertain"`
	Safe      []string `json:"safe"`
	// The cause of the last attempt's end, one of a closed set; what it means, and what
	// to set or to do.
	Cause   string `json:"cause,omitzero"`
	Meaning string `json:"meaning,omitzero"`
	Advice  string `json:"advice,omitzero"`
}

// attentionView is nil for an operation that is not in attention.
func attentionView(r journal.OperationRecord) *attentionJSON {
	row, ok := onboarding.AttentionOf(onboarding.Reason(r.Reason))
	if r.State != journal.Attention || !ok {
		return nil
	}
	v := attentionJSON{Certain: row.Certain, Uncertain: row.UncertainOf(r.Doubt, false), Advice: row.Do, Safe: []string{}}
	for _, c := range row.Safe(r.Kind, r.Doubt) {
		v.Safe = append(v.Safe, string(c))
	}
	return &v
}

func safeCommands(r journal.OperationRecord) string {
	if v := attentionView(r); v != nil {
		return strings.Join(v.Safe, " ")
	}
	return ""
}

// printActions lists the operator actions, the oldest first.
func printActions(w io.Writer, list []journal.Intent) {
	var rows [][]any
	for _, i := range slices.Backward(list) {
		rows = append(rows, []any{formatTime(i.At), i.Act, i.Actor, i.Note, i.State, i.Result, formatTime(i.Ended)})
	}
	printTable(w, []any{nowrap("asked"), "action", "by", "reason", "state", nowrap("result"), nowrap("ended")}, rows, "no operator actions")
}
