package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal/move"
)

type journalMigrate struct {
	outputFlag
	From string `name:"from" group:"command" placeholder:"URL" required:"" help:"The journal: sqlite: and the path of its file. No worker may run with it."`
	To   string `name:"to" group:"command" placeholder:"URL" required:"" help:"An empty database: postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full, with search_path=NAME for a schema of its own. Its password is in the file that PGPASSFILE names, or in PGPASSWORD."`
}

type migratedTableJSON struct {
	Table  string `json:"table"`
	Rows   int64  `json:"rows"`
	Copied int64  `json:"copied"` // by this run; the others were there
}

type migrationJSON struct {
	Identity  string              `json:"identity"`
	From      string              `json:"from"`
	To        string              `json:"to"` // without user and password
	Resumed   bool                `json:"resumed"`
	Restarted bool                `json:"restarted"`
	Waits     bool                `json:"rateLimitsPaused"`
	Rows      int64               `json:"rows"`
	Tables    []migratedTableJSON `json:"tables"`
	Seconds   float64             `json:"seconds"`
}

// Run copies.
func (c *journalMigrate) Run(ctx context.Context, env environment) error {
	env.keepGoing()
	quiet := slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	began := time.Now()
	r, err := app.Migrate(ctx, app.MigrateOptions{From: c.From, To: c.To, Actor: currentUser(), Logger: quiet, Progress: func(p move.Progress) {
		verb := "copying"
		if p.Comparing {
			verb = "comparing"
		}
		end := " …"
		if p.Done {
			end = ""
		}
		_, _ = fmt.Fprintf(env.stderr, "%s %s: %s%s\n", verb, p.Table, plural(int(p.Rows), "row", "rows"), end)
	}})
	if err != nil {
		return err
	}
	v := migrationView(r, c.From)
	v.Seconds = time.Since(began).Seconds()
	return c.write(env.stdout, v, func(w io.Writer) { printMigration(w, v) })
}

func migrationView(r move.Report, from string) migrationJSON {
	v := migrationJSON{Identity: r.Identity.String(), From: from, To: r.To, Resumed: r.Resumed, Restarted: r.Restarted, Waits: r.Waits, Tables: []migratedTableJSON{}}
	for _, t := range r.Tables {
		v.Tables = append(v.Tables, migratedTableJSON{t.Name, t.Rows, t.Copied})
		v.Rows += t.Rows
	}
	return v
}

func printMigration(w io.Writer, v migrationJSON) {
	_, _ = fmt.Fprintf(w, "the journal is in %s from now on\n\n", v.To)
	var rows [][]any
	for _, t := range v.Tables {
		if t.Rows > 0 {
			rows = append(rows, []any{t.Table, t.Rows, t.Copied})
		}
	}
	printTable(w, []any{"table", "rows, compared", "copied now"}, rows, "an earlier run copied and compared all rows and was interrupted; this run finished the migration")
	if v.Restarted {
		_, _ = fmt.Fprintln(w, "\nAn earlier copy was not gone on with, because the journal was worked with since or a clock was set: all was copied again.")
	}
	if v.Waits {
		_, _ = fmt.Fprintln(w, "\nIt is not known for certain what was sent last: the first worker sends nothing until the limits cannot be used up any more.")
	}
	_, _ = fmt.Fprintf(w, "\nGive that URL as --journal-url to every worker and command, with the same keyset file and the same --kafka-group.\n")
	_, _ = fmt.Fprintf(w, "%s was marked: no worker starts with it again. Keep it until you trust the other, then delete it.\n", v.From)
}
