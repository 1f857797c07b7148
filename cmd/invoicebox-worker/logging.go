package main

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/term"
)

// logger writes to w as --log-format and --log-level say.
func (s *settings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	// Its form was checked with the setting.
	_ = level.UnmarshalText([]byte(s.LogLevel))
	options := &slog.HandlerOptions{Level: level}
	format := s.LogFormat
	if format == "auto" {
		format = "json"
		if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) { // #nosec G115 -- a file descriptor
			format = "text"
		}
	}
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
