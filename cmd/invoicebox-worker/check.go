package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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

// checksAsJSON reports whether the arguments ask for the checks as JSON. They may be
// arguments that cannot be parsed.
func checksAsJSON(args []string) bool {
	if at := slices.Index(args, "check"); at < 0 || slices.Contains(args[:at], "accounts") {
		return false
	}
	for i, a := range args {
		switch a {
		case "--output=json", "-o=json", "-ojson":
			return true
		case "--output", "-o":
			if i+1 < len(args) && args[i+1] == "json" {
				return true
			}
		}
	}
	return false
}

// settingsCheck is the output of `check --output json` if a setting has a wrong value.
func settingsCheck(env environment, err error) int {
	views := []checkJSON{{Check: "settings", Result: string(app.CheckFailed), Detail: err.Error()}}
	if writeErr := (outputFlag{Output: "json"}).write(env.stdout, views, nil); writeErr != nil {
		return fail(env, exitFailed, writeErr)
	}
	return fail(env, exitFailed, errors.New("1 check has failed"))
}

// Run makes all checks and prints a line for each. It fails if a check failed.
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
