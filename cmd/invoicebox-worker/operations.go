package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// operations are the commands about the work.
type operations struct {
	List operationsList `cmd:"" settings:"journal-url" help:"List operations, the newest first: open ones; with --all also what has ended."`
	Show operationsShow `cmd:"" settings:"journal-url" help:"One operation with its attempts, events, results and operator actions; in attention, what is certain and which commands are safe."`

	Probe          operationsProbe          `cmd:"" settings:"journal-url,keyset-file" help:"Ask Invoicebox once more about an operation in doubt, knowing that it may have been executed."`
	Retry          operationsRetry          `cmd:"" settings:"journal-url,keyset-file" help:"Start an operation in attention again, of which nothing was executed; or check its stored token again."`
	Close          operationsClose          `cmd:"" settings:"journal-url,keyset-file" help:"End an operation in attention, and publish the result that the platform still lacks."`
	Response       operationsResponse       `cmd:"" settings:"journal-url,keyset-file" help:"Show the stored responses of an activation: status, headers, length, digest; with --reveal also the bodies, which may hold the shop's token."`
	Reread         operationsReread         `cmd:"" settings:"journal-url,keyset-file" help:"Parse the stored response of an activation again with this version. Its token is checked before a result is published."`
	SetCredentials operationsSetCredentials `cmd:"" settings:"journal-url,keyset-file" help:"Store the merchant id and token that Invoicebox's support provided. The token is verified before a result is published."`
	// Enter is the earlier name of set-credentials, for scripts that use it.
	Enter operationsSetCredentials `cmd:"" hidden:"" settings:"journal-url,keyset-file"`
}

type operationsList struct {
	outputFlag
	Account   string `name:"account" group:"command" placeholder:"NAME" help:"Of this account only."`
	Shop      string `name:"shop" group:"command" placeholder:"SHOP" help:"Of this shop only."`
	Kind      string `name:"kind" group:"command" enum:",invite,activate" default:"" placeholder:"KIND" help:"invite or activate."`
	State     string `name:"state" group:"command" placeholder:"STATE" help:"In this state only, such as waiting or done."`
	Attention bool   `name:"attention" group:"command" help:"Only what waits for a person."`
	All       bool   `name:"all" group:"command" help:"Also what has ended."`
	pageFlags
}

// Run lists operations.
func (c *operationsList) Run(ctx context.Context, s *settings, env environment) error {
	filter := journal.OperationFilter{Account: c.Account, Shop: c.Shop, OpenOnly: !c.All}
	for _, k := range []journal.Kind{journal.Invite, journal.Activate} {
		if c.Kind == k.String() {
			filter.Kind = k
		}
	}
	if c.Attention && c.State != "" {
		return &usageError{"--attention and --state exclude each other"}
	}
	if c.Attention {
		c.State = journal.Attention.String()
	}
	if c.State != "" {
		state, ok := stateNamed(c.State)
		if !ok {
			return &usageError{fmt.Sprintf("--state %q is none of %s", c.State, strings.Join(stateNames(), ", "))}
		}
		filter.State, filter.OpenOnly = state, false
	}
	limit, err := c.limit(c.Output)
	if err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		if c.After != "" {
			if filter.Before, err = operationNumber(ctx, j, c.After); err != nil {
				return err
			}
		}
		records, more, err := readRows(limit, filter.Before, func(before int64, limit int) ([]journal.OperationRecord, error) {
			filter.Before, filter.Limit = before, limit
			return j.Operations(ctx, filter)
		}, func(r journal.OperationRecord) int64 { return r.ID })
		if err != nil {
			return err
		}
		situation, err := app.ReadSituation(ctx, j)
		if err != nil {
			return err
		}
		var why notes
		views, rows := []operationJSON{}, [][]any{}
		for _, r := range records {
			obstacles, err := situation.Obstacles(ctx, r)
			if err != nil {
				return err
			}
			view := operationView(r)
			view.WaitsFor = obstacleViews(obstacles)
			views = append(views, view)
			row := []any{r.UUID, r.Kind, r.Shop.Account, r.Shop.Shop, r.State.String() + why.mark(obstacles), r.Reason, attemptsText(r), dueOrChanged(r)}
			if c.Attention {
				row[4] = safeCommands(r)
			}
			rows = append(rows, row)
		}
		state := any("state")
		if c.Attention {
			state = nowrap("safe")
		}
		if err := c.write(env.stdout, views, func(w io.Writer) {
			printTable(w, []any{nowrap("id"), "kind", "account", "shop", state, nowrap("reason"), "tries", nowrap("changed or due")}, rows, "no operations")
			why.print(w)
		}); err != nil || !more {
			return err
		}
		notifyTruncated(env, limit, records[limit-1].UUID.String())
		return nil
	})
}

type operationsShow struct {
	outputFlag
	ID string `arg:"" name:"id" help:"The operation's id, as listed and as the events' operationid."`
}

// operation reads an operation that the command line names.
func (s *settings) operation(ctx context.Context, j journal.Journal, id uuid.UUID) (journal.OperationDetail, error) {
	d, err := j.Operation(ctx, id)
	if errors.Is(err, journal.ErrNotFound) {
		return d, fmt.Errorf("there is no operation %s in %s", id, s.JournalURL)
	}
	return d, err
}

// Run shows one operation.
func (c *operationsShow) Run(ctx context.Context, s *settings, env environment) error {
	id, err := operationID(c.ID)
	if err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		d, err := s.operation(ctx, j, id)
		if err != nil {
			return err
		}
		acts, err := j.Intents(ctx, journal.IntentFilter{Operation: id, Limit: 100})
		if err != nil {
			return err
		}
		situation, err := app.ReadSituation(ctx, j)
		if err != nil {
			return err
		}
		obstacles, err := situation.Obstacles(ctx, d.OperationRecord)
		if err != nil {
			return err
		}
		view := detailView(d)
		view.WaitsFor = obstacleViews(obstacles)
		for _, i := range acts {
			view.Actions = append(view.Actions, actionView(i))
		}
		return c.write(env.stdout, view, func(w io.Writer) {
			printOperation(w, d, obstacles)
			_, _ = fmt.Fprintln(w)
			printActions(w, acts)
		})
	})
}

func printOperation(w io.Writer, d journal.OperationDetail, obstacles []onboarding.Obstacle) {
	printFields(w,
		"operation", d.UUID.String(), "kind", d.Kind.String(), "account", d.Shop.Account, "shop", d.Shop.Shop,
		"state", d.State.String(), "reason", d.Reason, "run", fmt.Sprint(d.Run), "generation", fmt.Sprint(d.Generation),
		"doubt", ifTrue(d.Doubt, "an attempt may have been executed"), "created", formatTimeMillis(d.Created), "changed", formatTimeMillis(d.Changed),
		"due", formatTimeMillis(d.Due), "owner", d.Owner)
	if len(obstacles) > 0 && d.State != journal.Attention {
		_, _ = fmt.Fprintln(w)
		for _, o := range obstacles {
			printFields(w, "waits", o.Text, "command", o.Command)
		}
	}
	if v := detailView(d).Attention; v != nil {
		_, _ = fmt.Fprintln(w)
		printFields(w, "certain", v.Certain, "not certain", v.Uncertain, "cause", strings.TrimSuffix(v.Cause+": "+v.Meaning, ": "), "to do", v.Advice, "safe commands", strings.Join(v.Safe, ", "))
	}
	var rows [][]any
	for i, a := range d.Tries {
		row := []any{a.Number, formatTimeMillis(a.Started), "", "open", "", "", "", "", ifTrue(a.HasReceipt, "response")}
		if a.End != nil {
			took := a.End.At.Sub(a.Started).Round(time.Millisecond)
			row = []any{a.Number, formatTimeMillis(a.Started), took, outcomeOf(d, i), reasonOf(d, i), a.End.Status, a.End.Code, a.End.RequestID, ifTrue(a.HasReceipt, "response")}
		}
		rows = append(rows, row)
	}
	_, _ = fmt.Fprintln(w)
	printTable(w, []any{"try", nowrap("started"), "took", "outcome", "reason", "status", "code", "request id", ""}, rows, "no attempts")
	_, _ = fmt.Fprintln(w)
	printEvents(w, d.Events)
	_, _ = fmt.Fprintln(w)
	printOutputs(w, d.Output)
}

// attemptsText shows the number of attempts of an operation, and whether one of them may have been
// executed although its outcome is unknown.
func attemptsText(r journal.OperationRecord) string {
	if r.Doubt {
		return fmt.Sprintf("%d doubt", r.Attempts)
	}
	return fmt.Sprint(r.Attempts)
}

// dueOrChanged returns when a waiting operation is due, and when another operation changed last.
func dueOrChanged(r journal.OperationRecord) string {
	if r.State == journal.Waiting && !r.Due.IsZero() || r.State.Open() && r.Due.After(time.Now()) {
		return "due " + formatTime(r.Due)[len("2006-"):]
	}
	return formatTime(r.Changed)
}

func allStates() []journal.State {
	return []journal.State{
		journal.Queued, journal.Planned, journal.Waiting, journal.Claimed, journal.Sending, journal.Received,
		journal.Stored, journal.Unknown, journal.Attention, journal.Done, journal.Superseded,
	}
}

func stateNames() []string {
	var names []string
	for _, s := range allStates() {
		names = append(names, s.String())
	}
	return names
}

func stateNamed(name string) (journal.State, bool) {
	for _, s := range allStates() {
		if s.String() == name {
			return s, true
		}
	}
	return 0, false
}
