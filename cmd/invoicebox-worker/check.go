package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"invoicebox-worker/internal/app"
)

// checkCommand tries what run needs.
type checkCommand struct{ outputFlag }

type checkJSON struct {
	Check  string `json:"check"`
	Result string `json:"result"` // ok, warning, failed
	Detail string `json:"detail,omitzero"`
}

// Run tries everything and says it line by line; it fails when one of them did.
func (c *checkCommand) Run(ctx context.Context, s *settings, env environment) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	o, err := s.options(nil)
	var results []app.CheckResult
	if err != nil {
		results = []app.CheckResult{{Name: "settings", Verdict: app.CheckFailed, Detail: err.Error()}}
	} else {
		results = app.Check(ctx, o)
	}
	for _, near := range s.given.NearMisses {
		results = append(results, app.CheckResult{Name: "settings", Verdict: app.CheckWarning, Detail: near.String()})
	}
	var views []checkJSON
	var rows [][]any
	failed := 0
	for _, r := range results {
		views = append(views, checkJSON{Check: r.Name, Result: string(r.Verdict), Detail: r.Detail})
		rows = append(rows, []any{r.Name, r.Verdict, r.Detail})
		if r.Verdict == app.CheckFailed {
			failed++
		}
	}
	if err := c.write(env.stdout, views, func(w io.Writer) {
		for _, r := range rows {
			_, _ = fmt.Fprintf(w, "%-12s %-8s %s\n", r[0], r[1], r[2])
		}
	}); err != nil {
		return err
	}
	if failed > 0 {
		return errors.New(plural(failed, "check has", "checks have") + " failed")
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
