package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/loopback"
	"invoicebox-worker/invoicebox/sandbox"
)

// greet says what the program is, where it listens and what to set for a worker
// to talk to it. Only the public demo token is ever printed.
func greet(w io.Writer, f flags, sb *sandbox.Sandbox, api, admin string) {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	scheme := "http"
	if f.TLSCertFile != "" {
		scheme = "https"
	}
	line("invoicebox-sandbox misbehaves on purpose and is no product. Its state lives in memory only.")
	line("")
	line("  API      %s://%s%s", scheme, reachable(api), f.BasePath)
	line("  admin    http://%s  (asks for no password)", reachable(admin))
	line("  profile  %s", f.Profile)
	line("  seed     %d", sb.Seed())
	line("  limits   %s per account, %s per IP address, in %v", limit(f.RequestsPerWindow), limit(f.EgressRequestsPerWindow), f.Window)
	line("")
	line("For a worker to talk to it:")
	line("")
	account := sb.Accounts()[0]
	if account.Token == sandbox.DefaultToken {
		line("  (umask 077; printf %%s %s > partner-token)", account.Token)
	} else {
		line("  put the token of --account into a file partner-token that only you can read (chmod 600)")
	}
	line("  export INVOICEBOX_WORKER_INVOICEBOX_URL=%s://%s%s", scheme, reachable(api), f.BasePath)
	line("  export INVOICEBOX_WORKER_PARTNER_ID=%s", quoted(account.PartnerID))
	line("  export INVOICEBOX_WORKER_TOKEN_FILE=partner-token")
	if account.SigningKey != "" {
		line("  export INVOICEBOX_WORKER_SIGNING_KEY_FILE=partner-signing-key  # a file with the key of --signing-key")
		line("  export INVOICEBOX_WORKER_SIGNING_ALGORITHM=%s", f.SigningAlgorithm)
	}
	if f.Window != sandbox.DefaultWindow || f.RequestsPerWindow != sandbox.DefaultRequestsPerWindow {
		line("  export INVOICEBOX_WORKER_REQUESTS_PER_WINDOW=%d INVOICEBOX_WORKER_WINDOW=%v", workerLimit(f.RequestsPerWindow), f.Window)
	}
	if f.EgressRequestsPerWindow != sandbox.DefaultEgressPerWindow {
		line("  export INVOICEBOX_WORKER_EGRESS_REQUESTS_PER_WINDOW=%d", workerLimit(f.EgressRequestsPerWindow))
	}
	if scheme == "http" && !loopback.IsHostPort(api) {
		line("")
		line("A worker takes http only from its own machine (127.0.0.1); from elsewhere it wants https: see --tls-cert-file.")
	}
	line("")
	line("Codes and addresses that begin with a word of its table misbehave so: rejected-, lost-answer-, limited-2-, slow-…; see --help.")
	_, _ = io.WriteString(w, b.String())
}

func limit(n int) string {
	if n < 0 {
		return "no limit"
	}
	return fmt.Sprint(n)
}

// workerLimit returns the worker's setting for a limit; no limit becomes a number that is
// never reached.
func workerLimit(n int) int {
	if n < 0 {
		return 1_000_000
	}
	return n
}

// reachable is an address that a client on this machine can use.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

// quoted makes a text safe to paste into a shell.
func quoted(s string) string {
	if strings.Trim(s, "0123456789abcdefABCDEF-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// help adds the table of faults to what kong prints.
func help(o kong.HelpOptions, ctx *kong.Context) error {
	if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
		return err
	}
	w := ctx.Stdout
	fmt.Fprintln(w, "\nCodes and addresses that begin with one of these words misbehave so. Where a number stands in brackets, another can")
	fmt.Fprintln(w, "follow the word (limited-5-…; 0 times is always):")
	fmt.Fprintln(w)
	for _, f := range sandbox.Faults() {
		fmt.Fprintf(w, "  %-17s %-10s %-12s %s\n", f.Word, f.On, number(f), f.What)
	}
	return nil
}

func number(f sandbox.FaultWord) string {
	switch {
	case f.Number == "":
		return ""
	case f.Number == "times" && f.Default == 0:
		return "[always]"
	default:
		return fmt.Sprintf("[%d %s]", f.Default, f.Number)
	}
}
