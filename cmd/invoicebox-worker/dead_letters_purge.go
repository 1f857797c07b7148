package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/visible"
)

// lettersAtOnce is how many dead letters one transaction marks or deletes, so that the
// worker's own do not wait long.
const lettersAtOnce = 500

// describe names what the flags choose, for the audit trail.
func (f deadLetterFlags) describe() string {
	var parts []string
	for _, p := range []struct{ name, value string }{
		{"reason", f.Reason}, {"topic", f.Topic}, {"account", f.Account}, {"shop", f.Shop}, {"since", f.Since}, {"until", f.Until},
	} {
		if p.value != "" {
			parts = append(parts, p.name+" "+p.value)
		}
	}
	return strings.Join(parts, ", ")
}

// deadLettersExport prints dead letters for other programs.
type deadLettersExport struct {
	deadLetterFlags
	Open   bool   `name:"open" group:"command" help:"Only dead letters that were not replayed successfully."`
	Reveal bool   `name:"reveal" group:"command" help:"Also print the records: key, headers and value. They may hold addresses and codes. Audited."`
	Actor  string `name:"actor" group:"command" placeholder:"NAME" help:"Who asks, for the audit trail; else the system's user and host."`
	Note   string `name:"note" group:"command" placeholder:"TEXT" help:"Why, for the audit trail; never a secret."`
}

// Run exports dead letters, a page at a time. With --reveal the audit entry of a page is
// on disk before a byte of its records is printed.
func (c *deadLettersExport) Run(ctx context.Context, s *settings, env environment) error {
	f, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	if err := checkActor(&c.Actor, "--note", c.Note); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		var keys *keyset.Set
		if c.Reveal {
			if keys, err = s.keysetOf(ctx, j); err != nil {
				return err
			}
		}
		f.Open, f.NoRecords = c.Open, !c.Reveal
		out, problems := bufio.NewWriter(env.stdout), 0
		for f.Limit = 200; ; {
			page, err := j.DeadLetters(ctx, f)
			if err != nil {
				return cmp.Or(err, out.Flush())
			}
			n, err := c.print(ctx, j, out, keys, page)
			problems += n
			if err != nil {
				return cmp.Or(err, out.Flush())
			}
			if len(page) < f.Limit {
				break
			}
			f.Before = page[len(page)-1].ID
		}
		if err := out.Flush(); err != nil || problems == 0 {
			return err
		}
		return fmt.Errorf("%s could not be opened: see the member problem", plural(problems, "record", "records"))
	})
}

// print prints a page and counts the records that cannot be opened. Keys are nil without
// --reveal.
func (c *deadLettersExport) print(ctx context.Context, j journal.Journal, out io.Writer, keys *keyset.Set, page []journal.DeadLetterRecord) (problems int, err error) {
	if keys != nil && len(page) > 0 {
		detail := fmt.Sprintf("%s from %d to %d revealed; %s", plural(len(page), "dead letter", "dead letters"), page[len(page)-1].ID, page[0].ID, c.Note)
		if err := j.AppendAudit(ctx, journal.AuditEntry{
			At: time.Now(), Actor: c.Actor, Act: "dead-letters.revealed", Subject: "dead-letters", Detail: strings.TrimSuffix(detail, "; "),
		}); err != nil {
			return 0, fmt.Errorf("no more is printed, because it cannot be written to the audit trail: %w", err)
		}
	}
	for _, l := range page {
		view := deadLetterView(l)
		if keys != nil && view.Kept {
			if m, err := openLetter(keys, l); err != nil {
				view.Problem = err.Error()
				problems++
			} else {
				view.Record = payloadView(m)
			}
		}
		doc, err := json.Marshal(view)
		if err != nil {
			return problems, fmt.Errorf("write the answer: %w", err)
		}
		if _, err := out.Write(append(visible.JSON(doc), '\n')); err != nil {
			return problems, err
		}
	}
	return problems, nil
}

// deadLettersPurge deletes dead letters.
type deadLettersPurge struct {
	outputFlag
	deadLetterFlags
	OlderThan time.Duration `name:"older-than" group:"command" placeholder:"TIME" required:"" help:"Only dead letters received longer ago than this, such as 720h; 0s: all."`
	Yes       bool          `name:"yes" group:"command" help:"Do not ask for confirmation."`
	Actor     string        `name:"actor" group:"command" placeholder:"NAME" help:"Who asks, for the audit trail; else the system's user and host."`
	Note      string        `name:"note" group:"command" placeholder:"TEXT" help:"Why, for the audit trail; never a secret."`
}

type purgeJSON struct {
	Chosen int `json:"chosen"`
	Purged int `json:"purged"`
	Left   int `json:"left"` // wait for a replay, their event is not published yet, or the newest
}

// Run deletes dead letters in parts.
func (c *deadLettersPurge) Run(ctx context.Context, s *settings, env environment) error {
	now := time.Now()
	f, err := c.filter(now)
	if err != nil {
		return err
	}
	if c.OlderThan < 0 {
		return &usageError{"--older-than must be a time such as 720h, or 0s"}
	}
	if before := now.Add(-c.OlderThan); f.Until.IsZero() || before.Before(f.Until) {
		f.Until = before
	}
	if err := checkActor(&c.Actor, "--note", c.Note); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		var ids []int64
		open, oldest := 0, time.Time{}
		if err := eachDeadLetter(ctx, j, f, nil, func(l journal.DeadLetterRecord) {
			ids, oldest = append(ids, l.ID), l.Received
			if l.Replayed.IsZero() {
				open++
			}
		}); err != nil {
			return err
		}
		view := purgeJSON{Chosen: len(ids)}
		if len(ids) > 0 {
			_, _ = fmt.Fprintf(env.stderr, "purge %s, the oldest of %s; %d of them were not replayed successfully\n",
				plural(len(ids), "dead letter", "dead letters"), formatTime(oldest), open)
			if !c.Yes && !confirmed(env) {
				return errors.New("nothing was deleted: it was not confirmed; answer yes, or add --yes")
			}
		}
		slices.Sort(ids)
		if view.Purged, err = c.purge(ctx, j, ids); err != nil {
			return fmt.Errorf("%d of %d were deleted: %w", view.Purged, len(ids), err)
		}
		view.Left = view.Chosen - view.Purged
		return c.write(env.stdout, view, func(w io.Writer) {
			_, _ = fmt.Fprintf(w, "%s deleted\n", plural(view.Purged, "dead letter", "dead letters"))
			if view.Left > 0 {
				_, _ = fmt.Fprintf(w, "  left: %d, because they wait for a replay, their event is not published yet, or it is the newest\n", view.Left)
			}
		})
	})
}

// pruningWait is how long the command waits while the worker prunes.
const pruningWait = 30 * time.Second

func (c *deadLettersPurge) purge(ctx context.Context, j journal.Journal, ids []int64) (purged int, err error) {
	chosen := "older than " + c.OlderThan.String()
	if more := c.describe(); more != "" {
		chosen += ", " + more
	}
	entry := journal.AuditEntry{Actor: c.Actor, Act: "dead-letters.purged", Subject: "dead-letters", Detail: strings.TrimSuffix(chosen+"; "+c.Note, "; ")}
	for part := range slices.Chunk(ids, lettersAtOnce) {
		over := time.After(pruningWait)
		for {
			n, err := j.PurgeDeadLetters(ctx, part, entry)
			purged += n
			if err == nil {
				break
			}
			if !errors.Is(err, journal.ErrStale) {
				return purged, err
			}
			select {
			case <-ctx.Done():
				return purged, ctx.Err()
			case <-over:
				return purged, fmt.Errorf("a worker has pruned the journal for %s; run the command again", pruningWait)
			case <-time.After(lookEvery):
			}
		}
	}
	return purged, nil
}
