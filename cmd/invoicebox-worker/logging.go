package main

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"

	"invoicebox-worker/internal/visible"
)

// logger writes to w as --log-format and --log-level say.
func (s *settings) logger(w io.Writer) *slog.Logger { return s.loggerTo(w, isTerminal(w)) }

// loggerTo writes to w, which is a terminal or not.
func (s *settings) loggerTo(w io.Writer, terminal bool) *slog.Logger {
	var level slog.Level
	// The level was checked with the settings.
	_ = level.UnmarshalText([]byte(s.LogLevel))
	options := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "text" || s.LogFormat == "auto" && terminal {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(visibleLines{w}, options))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) // #nosec G115 -- a file descriptor
}

// visibleLines escapes invisible characters in lines of JSON; lines of text have
// them quoted by their handler.
type visibleLines struct{ w io.Writer }

func (v visibleLines) Write(line []byte) (int, error) {
	if n, err := v.w.Write(visible.JSON(line)); err != nil {
		return min(n, len(line)), err
	}
	return len(line), nil
}
