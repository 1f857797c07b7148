package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"invoicebox-worker/internal/journal"
)

// deadLettersReplay asks the worker to replay dead letters.
type deadLettersReplay struct {
	outputFlag
	deadLetterFlags
	IDs    []int64 `arg:"" optional:"" name:"id" help:"Ids of dead letters, as listed. Flags can choose dead letters instead."`
	All    bool    `name:"all" group:"command" help:"Choose all dead letters."`
	DryRun bool    `name:"dry-run" group:"command" help:"Only show which dead letters would be replayed."`
	Rate   string  `name:"rate" group:"command" default:"10/s" placeholder:"N/s" help:"The most dead letters that the worker replays in a second, from 1/s to 200/s (default ${default})."`
	Actor  string  `name:"actor" group:"command" placeholder:"NAME" help:"Who asks, for the audit trail; else the system's user and host."`
	Note   string  `name:"note" group:"command" placeholder:"TEXT" help:"Why, for the audit trail; never a secret."`
}

// replayJSON says which dead letters are replayed. Every chosen dead letter is counted once.
type replayJSON struct {
	DryRun    bool    `json:"dryRun"`
	Chosen    int     `json:"chosen"`
	Asked     int     `json:"asked"`       // for which a replay was requested; with --dry-run: would be
	Done      int     `json:"done"`        // replayed before, successfully
	Waiting   int     `json:"waiting"`     // a replay was requested before
	NotKept   int     `json:"notKept"`     // the journal has no record
	Exhausted int     `json:"exhausted"`   // replayed as often as is permitted
	Letters   []int64 `json:"deadLetters"` // those of Asked
}

// Run marks dead letters for the worker. On SQLite only the worker can change the inbox,
// so it executes the replay on both databases; the command needs no key.
func (c *deadLettersReplay) Run(ctx context.Context, s *settings, env environment) error {
	f, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	every, ok := interval(c.Rate)
	if !ok {
		return &usageError{"--rate must be 1/s to 200/s"}
	}
	if err := c.checkChoice(f); err != nil {
		return err
	}
	if err := checkActor(&c.Actor, "--note", c.Note); err != nil {
		return err
	}
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		view := replayJSON{DryRun: c.DryRun, Letters: []int64{}}
		if err := eachDeadLetter(ctx, j, f, c.IDs, view.add); err != nil {
			return err
		}
		slices.Sort(view.Letters)
		view.Asked = len(view.Letters)
		if !c.DryRun {
			if view.Asked, err = c.ask(ctx, j, view.Letters, every); err != nil {
				return fmt.Errorf("a replay of %d of %d dead letters was requested: %w", view.Asked, len(view.Letters), err)
			}
		}
		return c.write(env.stdout, view, func(w io.Writer) { view.print(w, every) })
	})
}

// checkChoice checks the ids and the filter.
func (c *deadLettersReplay) checkChoice(f journal.DeadLetterFilter) error {
	chosen := f != journal.DeadLetterFilter{}
	switch {
	case slices.ContainsFunc(c.IDs, func(id int64) bool { return id < 1 }):
		return &usageError{"a dead letter's id is a number from 1, as `dead-letters list` shows it"}
	case len(c.IDs) > 0 && (chosen || c.All), chosen && c.All:
		return &usageError{"ids, flags such as --reason, and --all exclude each other"}
	case len(c.IDs) == 0 && !chosen && !c.All:
		return &usageError{"the dead letters to replay must be chosen: by their ids, flags such as --reason, or --all"}
	}
	return nil
}

// interval is the time between two records at a rate such as 10/s.
func interval(rate string) (time.Duration, bool) {
	text, ok := strings.CutSuffix(rate, "/s")
	n, err := strconv.Atoi(text)
	if !ok || err != nil || n < 1 || n > 200 {
		return 0, false
	}
	return time.Second / time.Duration(n), true
}

// eachDeadLetter passes the dead letters with the ids, or those of the filter, to f,
// without their records.
func eachDeadLetter(ctx context.Context, j journal.Journal, filter journal.DeadLetterFilter, ids []int64, f func(journal.DeadLetterRecord)) error {
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		page, err := j.DeadLetters(ctx, journal.DeadLetterFilter{ID: id, NoRecords: true, Limit: 1})
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return fmt.Errorf("there is no dead letter %d", id)
		}
		f(page[0])
	}
	if len(ids) > 0 {
		return nil
	}
	filter.NoRecords = true
	for filter.Limit = 200; ; {
		page, err := j.DeadLetters(ctx, filter)
		if err != nil {
			return err
		}
		for _, l := range page {
			f(l)
		}
		if len(page) < filter.Limit {
			return nil
		}
		filter.Before = page[len(page)-1].ID
	}
}

// add counts a dead letter that was chosen.
func (v *replayJSON) add(l journal.DeadLetterRecord) {
	v.Chosen++
	switch {
	case !l.Replayed.IsZero():
		v.Done++
	case !l.ReplayDue.IsZero():
		v.Waiting++
	case !l.Kept:
		v.NotKept++
	case l.Replays >= journal.MaxReplays:
		v.Exhausted++
	default:
		v.Letters = append(v.Letters, l.ID)
	}
}

// ask marks dead letters in several transactions, each with an audit entry.
func (c *deadLettersReplay) ask(ctx context.Context, j journal.Journal, ids []int64, every time.Duration) (asked int, err error) {
	for part := range slices.Chunk(ids, lettersAtOnce) {
		detail := fmt.Sprintf("%s from %d to %d, %s; %s", plural(len(part), "dead letter", "dead letters"), part[0], part[len(part)-1], c.Rate, c.Note)
		n, err := j.AskReplays(ctx, part, every, journal.AuditEntry{
			At: time.Now(), Actor: c.Actor, Act: "dead-letters.replay.asked", Subject: "dead-letters", Detail: strings.TrimSuffix(detail, "; "),
		})
		if err != nil {
			return asked, err
		}
		asked += n
	}
	return asked, nil
}

func (v replayJSON) print(w io.Writer, every time.Duration) {
	verb := "will be replayed"
	if v.DryRun {
		verb = "would be replayed"
	}
	_, _ = fmt.Fprintf(w, "%s chosen, %d %s\n", plural(v.Chosen, "dead letter", "dead letters"), v.Asked, verb)
	for _, left := range []struct {
		n   int
		why string
	}{
		{v.Done, "were replayed before"}, {v.Waiting, "wait for a replay already"}, {v.NotKept, "have no record in the journal"},
		{v.Exhausted, fmt.Sprintf("failed %d times; have the event sent again", journal.MaxReplays)},
	} {
		if left.n > 0 {
			_, _ = fmt.Fprintf(w, "  left out: %d %s\n", left.n, left.why)
		}
	}
	if v.Asked > 0 && !v.DryRun {
		_, _ = fmt.Fprintf(w, "a running worker replays them in about %s; `dead-letters list` shows the results\n", (every * time.Duration(v.Asked)).Round(time.Second))
	}
}
