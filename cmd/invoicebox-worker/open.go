package main

import (
	"context"
	"log/slog"
	"os"
	"os/user"
	"strconv"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/journal"
)

// withJournal opens the journal beside a service that may be running, and
// closes it after f.
func withJournal(ctx context.Context, s *settings, env environment, f func(journal.Journal) error) (err error) {
	quiet := slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	j, err := app.OpenReadOnly(ctx, s.JournalURL, quiet)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := j.Close(); err == nil {
			err = closeErr
		}
	}()
	return f(j)
}

// currentUser names the actor for the audit trail.
func currentUser() string {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	// With sudo, the actor is the user who called it.
	if before := os.Getenv("SUDO_USER"); before != "" && before != name {
		name = before + " as " + name
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}
