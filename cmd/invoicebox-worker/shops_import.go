package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/credentials"
	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/onboarding"
	"invoicebox-worker/internal/secret"
	"invoicebox-worker/internal/secretfile"
	"invoicebox-worker/schemas"
)

// shopsImport takes over shops that are connected already.
type shopsImport struct {
	actionFlags
	File    string `name:"file" group:"command" required:"" placeholder:"FILE" help:"JSON lines with the members shopId, account (default if it is left out), merchantId and token. Only its owner may read the file. Required."`
	Publish bool   `name:"publish" group:"command" help:"Publish shop.invoicebox_activated for each shop; by default nothing is published."`
	DryRun  bool   `name:"dry-run" group:"command" help:"Only check the file and compare it with the journal. No token is checked."`
}

const (
	maxImportLine = 16 << 10
	// importAtOnce bounds how many imports of a command wait for a worker.
	importAtOnce = 16
)

// An importLine is one shop of the file.
type importLine struct {
	number  int
	account string
	shop    string
	given   importedCredentials
}

type importedCredentials struct {
	merchant string
	token    secret.String
}

type importFileJSON struct {
	ShopID     string `json:"shopId"`
	Account    string `json:"account"`
	MerchantID string `json:"merchantId"`
	Token      string `json:"token"`
}

// importLineJSON is the result of a line.
type importLineJSON struct {
	Line    int    `json:"line"`
	Account string `json:"account,omitzero"`
	Shop    string `json:"shop,omitzero"`
	Result  string `json:"result"` // invalid: the line cannot be used; waiting: for a worker; else as of an operator action
	Detail  string `json:"detail"`
}

type importJSON struct {
	Lines    int `json:"lines"` // without empty ones
	Imported int `json:"imported"`
	Same     int `json:"alreadyImported"`
	// Importable is the number of lines that would be imported, with --dry-run.
	Importable int              `json:"importable,omitzero"`
	Left       []importLineJSON `json:"left"` // the other lines, with what is wrong
}

// Run asks a worker to import each line.
func (c *shopsImport) Run(ctx context.Context, s *settings, env environment) error {
	forbidCoreDumps()
	if err := c.check(); err != nil {
		return err
	}
	if c.Wait == 0 {
		// The requests of a whole file would fill the queue of operator actions.
		return &usageError{"--wait must be above 0s: the command requests a few imports at a time, so that other actions of operators need not wait"}
	}
	file, err := openImport(c.File)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return withJournal(ctx, s, env, func(j journal.Journal) error {
		keys, err := s.keysetOf(ctx, j)
		if err != nil {
			return err
		}
		accounts, err := j.Accounts(ctx)
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, a := range accounts {
			known[a.Name] = true
		}
		view := importJSON{Left: []importLineJSON{}}
		var batch []importLine
		flush := func() error {
			err := c.importAll(ctx, s, j, keys, batch, &view)
			batch = batch[:0]
			return err
		}
		err = eachImport(file, known, func(l importLine, problem string) error {
			view.Lines++
			if problem != "" {
				view.Left = append(view.Left, importLineJSON{Line: l.number, Account: l.account, Shop: l.shop, Result: "invalid", Detail: problem})
				return nil
			}
			if batch = append(batch, l); len(batch) < importAtOnce {
				return nil
			}
			return flush()
		})
		if err == nil {
			err = flush()
		}
		slices.SortFunc(view.Left, func(a, b importLineJSON) int { return cmp.Compare(a.Line, b.Line) })
		if err == nil && len(view.Left) > 0 {
			err = fmt.Errorf("%s of %d not imported", plural(len(view.Left), "line", "lines"), view.Lines)
		}
		return errors.Join(c.write(env.stdout, view, func(w io.Writer) { c.print(w, view) }), err)
	})
}

// openImport opens a file with tokens.
func openImport(path string) (*os.File, error) {
	file, err := os.Open(path) // #nosec G304 -- the operator names the file
	if err != nil {
		return nil, fmt.Errorf("--file: %s cannot be read: %s", path, config.ErrorText(err))
	}
	info, err := file.Stat()
	if err == nil {
		err = secretfile.CheckPrivate(path, info)
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("--file: %w", err)
	}
	return file, nil
}

// eachImport passes each line that is not empty to f, with what is wrong with it.
func eachImport(r io.Reader, accounts map[string]bool, f func(l importLine, problem string) error) error {
	in := bufio.NewReaderSize(r, maxImportLine)
	seen, merchants := map[journal.ShopKey]int{}, map[journal.ShopKey]int{}
	for number := 1; ; number++ {
		text, long, err := importedLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("--file: line %d cannot be read: %s", number, config.ErrorText(err))
		}
		if number == 1 {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		}
		if text = bytes.TrimSpace(text); len(text) > 0 || long {
			l, problem := readImport(text, long, number, accounts)
			if problem == "" {
				shop, merchant := journal.ShopKey{Account: l.account, Shop: l.shop}, journal.ShopKey{Account: l.account, Shop: l.given.merchant}
				switch {
				case seen[shop] != 0:
					problem = fmt.Sprintf("the shop is in line %d already", seen[shop])
				case merchants[merchant] != 0:
					problem = fmt.Sprintf("the merchant id is in line %d already", merchants[merchant])
				default:
					seen[shop], merchants[merchant] = number, number
				}
			}
			clear(text)
			if err := f(l, problem); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
	}
}

// importedLine reads a line, and skips the rest of one that is too long.
func importedLine(in *bufio.Reader) (text []byte, long bool, err error) {
	text, err = in.ReadSlice('\n')
	for errors.Is(err, bufio.ErrBufferFull) {
		text, long = nil, true
		_, err = in.ReadSlice('\n')
	}
	return text, long, err
}

// readImport reads a line. The problem never contains a part of it but the account and the
// shop.
func readImport(text []byte, long bool, number int, accounts map[string]bool) (l importLine, problem string) {
	l.number = number
	switch {
	case long:
		return l, fmt.Sprintf("the line is longer than %d bytes", maxImportLine)
	case !utf8.Valid(text):
		return l, "the line is not UTF-8"
	}
	var in importFileJSON
	if json.Unmarshal(text, &in, json.RejectUnknownMembers(true)) != nil {
		return l, "the line is not a JSON object with the members shopId, account, merchantId and token, each once and a text"
	}
	if in.Account == "" {
		in.Account = "default"
	}
	if !accounts[in.Account] {
		return l, "the journal has no such account"
	}
	l.account = in.Account
	if !schemas.ValidShop(in.ShopID) {
		return l, fmt.Sprintf("shopId must be 1 to %d bytes without control characters", schemas.MaxShopBytes)
	}
	l.shop = in.ShopID
	l.given = importedCredentials{in.MerchantID, secret.New(in.Token)}
	if engine.ValidateEntered(in.MerchantID, l.given.token) != nil {
		return l, "merchantId and token are not of the form that Invoicebox gives"
	}
	return l, ""
}

// importAll requests the import of some lines, and waits for the results.
func (c *shopsImport) importAll(ctx context.Context, s *settings, j journal.Journal, keys *keyset.Set, lines []importLine, view *importJSON) error {
	type asked struct {
		line importLine
		id   uuid.UUID
	}
	var waiting []asked
	for _, l := range lines {
		result, detail, err := compareImport(ctx, j, keys, l)
		switch {
		case err != nil:
			return err
		case result == onboarding.ResultImportedSame:
			view.Same++
		case result != "":
			view.leave(l, string(result), detail)
		case c.DryRun:
			view.Importable++
		default:
			id, err := c.ask(ctx, s, j, l)
			if err != nil {
				return fmt.Errorf("line %d: %w", l.number, err)
			}
			waiting = append(waiting, asked{l, id})
		}
	}
	began, answered := time.Now(), 0
	for _, a := range waiting {
		one := c.actionFlags
		one.Wait = max(0, c.Wait-time.Since(began))
		end, err := one.waitForResult(ctx, j, a.id)
		if err != nil {
			return err
		}
		if end.State != journal.IntentWaiting {
			answered++
		}
		switch {
		case end.State == journal.IntentWaiting:
			view.leave(a.line, end.State.String(), "no worker has answered yet; the request waits in the journal")
		case end.State == journal.IntentRefused:
			view.leave(a.line, end.Result, end.Detail)
		case end.Result == string(onboarding.ResultImportedSame):
			view.Same++
		default:
			view.Imported++
		}
	}
	if c.Wait > 0 && len(waiting) > 0 && answered == 0 {
		return fmt.Errorf("no worker has answered within %s: the lines behind line %d were not read", c.Wait, lines[len(lines)-1].number)
	}
	return nil
}

func (v *importJSON) leave(l importLine, result, detail string) {
	v.Left = append(v.Left, importLineJSON{Line: l.number, Account: l.account, Shop: l.shop, Result: result, Detail: detail})
}

// compareImport compares a line with the shop's credentials in the journal. The result is
// "" if only a worker can compare them: the shop has none, another store has the token,
// or this command cannot read it.
func compareImport(ctx context.Context, j journal.Journal, keys *keyset.Set, l importLine) (r onboarding.Result, detail string, err error) {
	row, err := j.PublishedCredential(ctx, journal.ShopKey{Account: l.account, Shop: l.shop})
	switch {
	case errors.Is(err, journal.ErrNotFound), errors.Is(err, journal.ErrDisconnected):
		return "", "", nil
	case err != nil:
		return "", "", err
	case row.MerchantID != l.given.merchant:
		r = onboarding.ResultConnected
	case row.Sealed == nil: // another store has the token
		return "", "", nil
	default:
		kept, err := credentials.NewSealed(keys).Read(ctx, row)
		if err != nil {
			return "", "", nil //nolint:nilerr // the worker says what is wrong
		}
		if r = onboarding.ResultConnected; kept.Token.Equal(l.given.token) {
			r = onboarding.ResultImportedSame
		}
	}
	return r, onboarding.ResultOf(r).Text, nil
}

// ask requests the import of a line.
func (c *shopsImport) ask(ctx context.Context, s *settings, j journal.Journal, l importLine) (uuid.UUID, error) {
	i := journal.Intent{Act: string(onboarding.ActionImport), Account: l.account, MerchantID: l.given.merchant}
	return c.requestAbout(ctx, s, j, i, l.account+"/"+l.shop, func(keys *keyset.Set, i *journal.Intent) error {
		return engine.SealImport(keys, i, engine.Import{Shop: l.shop, Token: l.given.token, Publish: c.Publish})
	})
}

func (c *shopsImport) print(w io.Writer, v importJSON) {
	parts := []string{fmt.Sprintf("%d imported", v.Imported), fmt.Sprintf("%d already imported", v.Same)}
	if c.DryRun {
		parts = []string{fmt.Sprintf("%d to import", v.Importable), fmt.Sprintf("%d already imported", v.Same)}
	}
	_, _ = fmt.Fprintf(w, "%s: %s, %d left\n", plural(v.Lines, "line", "lines"), strings.Join(parts, ", "), len(v.Left))
	if len(v.Left) == 0 {
		return
	}
	var rows [][]any
	for _, l := range v.Left {
		rows = append(rows, []any{l.Line, l.Account, l.Shop, l.Result, l.Detail})
	}
	printTable(w, []any{"line", "account", nowrap("shop"), "result", "detail"}, rows, "")
}
