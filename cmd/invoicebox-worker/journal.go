package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/recovery"
	"invoicebox-worker/schemas"
)

// journalGroup are the commands about the journal itself.
type journalGroup struct {
	Backup  journalBackup  `cmd:"" settings:"journal-url" help:"Copy the journal to a new file, beside a running service. Going on from it: put the file in the journal's place and use journal recover."`
	Migrate journalMigrate `cmd:"" settings:"" help:"Move the journal from SQLite to an empty PostgreSQL database. Stop all workers first. The command copies all rows, compares them, and then marks the SQLite file as retired, so that no worker starts with it. An interrupted migration resumes when the command is run again."`
	Recover journalRecover `cmd:"" settings:"*" help:"Recover a restored journal. Stop the service first. The command reads the inputs since the copy again, imports the events that were published since, and treats every activation that may have been sent as unknown. An interrupted recovery can be run again."`
}

type journalBackup struct {
	outputFlag
	File string `arg:"" name:"file" help:"The copy: a file that does not exist yet, readable by its owner only."`
}

type positionJSON struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Next      int64  `json:"next"`
}

type openJSON struct {
	Account string `json:"account"`
	Kind    string `json:"kind"`
	State   string `json:"state"`
	Count   int64  `json:"count"`
}

type backupJSON struct {
	File       string         `json:"file"`
	At         time.Time      `json:"at"`
	Bytes      int64          `json:"bytes"`
	Positions  []positionJSON `json:"positions"`
	Operations []openJSON     `json:"operations"` // open ones and those in attention
	Outbox     int64          `json:"outbox"`     // events that wait to be published
}

// Run copies the journal.
func (c *journalBackup) Run(ctx context.Context, s *settings, env environment) error {
	if c.File == "" {
		return &usageError{"journal backup needs the name of a new file"}
	}
	quiet := slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	made, err := app.Backup(ctx, s.JournalURL, c.File, currentUser(), quiet)
	if err != nil {
		return err
	}
	view := backupView(made)
	return c.write(env.stdout, view, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "copied the journal to %s: %d bytes, state of %s, checked and on disk\n\n", view.File, view.Bytes, formatTimeMillis(view.At))
		var rows [][]any
		for _, p := range view.Positions {
			rows = append(rows, []any{p.Topic, p.Partition, p.Next})
		}
		printTable(w, []any{"input topic", "partition", "next offset"}, rows, "no positions: the service has not read anything yet")
		_, _ = fmt.Fprintln(w)
		rows = nil
		for _, o := range view.Operations {
			rows = append(rows, []any{o.Account, o.Kind, o.State, o.Count})
		}
		printTable(w, []any{"account", "kind", "state", "operations"}, rows, "no open operations")
		_, _ = fmt.Fprintf(w, "\n%s to be published.\n", plural(int(view.Outbox), "event waits", "events wait"))
		_, _ = fmt.Fprintln(w, "Every secret in it is sealed with the keyset: without the keyset file the copy is worth nothing, so keep that too, elsewhere.")
		_, _ = fmt.Fprintln(w, "A service does not start on the copy by itself: after a restore use `invoicebox-worker journal recover`.")
	})
}

func backupView(c sqlite.Copy) backupJSON {
	v := backupJSON{File: c.Path, At: c.At, Bytes: c.Bytes, Positions: []positionJSON{}, Operations: []openJSON{}, Outbox: c.Outbox}
	for _, p := range c.Positions {
		v.Positions = append(v.Positions, positionJSON{p.Topic, p.Partition, p.Next})
	}
	keys := slices.SortedFunc(maps.Keys(c.Operations), func(a, b journal.StatKey) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.State, b.State))
	})
	for _, k := range keys {
		v.Operations = append(v.Operations, openJSON{k.Account, k.Kind.String(), k.State.String(), c.Operations[k]})
	}
	return v
}

type journalRecover struct {
	outputFlag
	Force      bool `name:"force" group:"command" help:"Recover although nothing shows that the journal was restored, as where an older file was put in its place by other means than journal backup."`
	AcceptLoss bool `name:"accept-loss" group:"command" help:"Continue although topics no longer hold all records since the copy. The content of the missing records is lost: sequences may go back, and a code may be sent again without being marked as in doubt."`
}

type offsetRangeJSON struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
	Recreated bool   `json:"recreated,omitzero"` // the topic was deleted and created again, or lost records
}

type outcomeJSON struct {
	Outcome    string `json:"outcome"`
	Operations int    `json:"operations"`
}

type shopJSONRef struct {
	Account string `json:"account"`
	Shop    string `json:"shop"`
	// Reference is that of the credentials that were published last, if they are in an
	// external store.
	Reference string `json:"reference,omitzero"`
}

type recoverJSON struct {
	Recovery       int               `json:"recovery"` // its number
	Resumed        bool              `json:"resumed"`
	Copied         *time.Time        `json:"copied,omitzero"`
	Identity       string            `json:"identity"`
	Inputs         []offsetRangeJSON `json:"inputs"`
	Lost           []offsetRangeJSON `json:"lost"`
	Results        int               `json:"resultsRead"`
	Imported       int               `json:"imported"`
	ForeignRecords int               `json:"foreignRecords"`
	Operations     []outcomeJSON     `json:"operations"`
	UnknownShops   []shopJSONRef     `json:"shopsWithoutOperation"` // activated, and no operation is known
	QuietFor       string            `json:"noRequestFor"`
}

// Run recovers.
func (c *journalRecover) Run(ctx context.Context, s *settings, env environment) error {
	env.keepGoing()
	// The table reports what was done, so the log has errors only unless --log-level is set.
	if !s.given.Has("log-level") {
		s.LogLevel = "error"
	}
	o, err := s.options(s.logger(env.stderr))
	if err != nil {
		return err
	}
	r, err := app.Recover(ctx, app.RecoverOptions{Options: o, Actor: currentUser(), AcceptLoss: c.AcceptLoss, Force: c.Force})
	if err != nil {
		return err
	}
	v := recoverView(r)
	if err := c.write(env.stdout, v, func(w io.Writer) { printRecovery(w, v) }); err != nil {
		return err
	}
	if len(v.UnknownShops) > 0 {
		return errors.New("recovered, but shops were activated of which no operation is known: see above")
	}
	return nil
}

func recoverView(r recovery.Report) recoverJSON {
	v := recoverJSON{
		Recovery: r.Number, Resumed: r.Resumed, Copied: timeJSON(r.Copied), Identity: r.Identity.String(), Inputs: []offsetRangeJSON{}, Lost: []offsetRangeJSON{},
		Results: r.Results, Imported: r.Imported, ForeignRecords: r.ForeignRecords, Operations: []outcomeJSON{}, UnknownShops: []shopJSONRef{}, QuietFor: r.QuietFor.String(),
	}
	for _, i := range r.Inputs {
		v.Inputs = append(v.Inputs, offsetRangeJSON{i.Topic, i.Partition, i.From, i.To, i.TopicRecreated})
	}
	for _, l := range r.Lost {
		v.Lost = append(v.Lost, offsetRangeJSON{l.Topic, l.Partition, l.From, l.To, false})
	}
	for _, word := range slices.Sorted(maps.Keys(r.Outcomes)) {
		v.Operations = append(v.Operations, outcomeJSON{word, r.Outcomes[word]})
	}
	for _, k := range r.UnknownShops {
		o := shopJSONRef{Account: k.Account, Shop: k.Shop}
		if ref, _ := schemas.ParseReference(k.Reference); ref.External() {
			o.Reference = k.Reference
		}
		v.UnknownShops = append(v.UnknownShops, o)
	}
	return v
}

func printRecovery(w io.Writer, v recoverJSON) {
	_, _ = fmt.Fprintf(w, "recovered (recovery %d of this journal); its identity is now %s\n\n", v.Recovery, v.Identity)
	var rows [][]any
	for _, i := range v.Inputs {
		rows = append(rows, []any{i.Topic, i.Partition, i.From, i.To, i.To - i.From})
	}
	printTable(w, []any{"input topic", "partition", "from", "to", "read again"}, rows, "no inputs")
	_, _ = fmt.Fprintf(w, "\n%s read from the result topics, %d of them not known to the copy and taken over.\n\n", plural(v.Results, "event was", "events were"), v.Imported)
	rows = nil
	for _, o := range v.Operations {
		rows = append(rows, []any{o.Operations, o.Outcome})
	}
	printTable(w, []any{"operations", nowrap("outcome")}, rows, "no operation was affected")
	for _, l := range v.Lost {
		_, _ = fmt.Fprintf(w, "LOST: the records of %s/%d from offset %d to %d were deleted before they were read\n", l.Topic, l.Partition, l.From, l.To)
	}
	for _, k := range v.UnknownShops {
		if k.Reference != "" {
			_, _ = fmt.Fprintf(w, "UNKNOWN: shop %s of account %s was activated and nothing else is known of it: its credentials are not lost with the journal, look for them at %s; the service neither verifies them nor answers for them\n", k.Shop, k.Account, k.Reference)
			continue
		}
		_, _ = fmt.Fprintf(w, "LOST: shop %s of account %s was activated and nothing else is known of it: its credentials are gone; ask it for another code\n", k.Shop, k.Account)
	}
	_, _ = fmt.Fprintf(w, "\nInputs read again that led to an operation of which nothing was published are in doubt: what is sent for them is flagged.\n")
	_, _ = fmt.Fprintf(w, "Look at `invoicebox-worker operations list --attention`, then start the service; for %s it sends nothing, because its limits may be used up.\n", v.QuietFor)
}
