package endpoint

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gopkg.in/yaml.v3"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/secretfile"
	"invoicebox-worker/schemas"
)

// Bounds of the callers file.
const (
	maxCallersFile = 1 << 20
	maxCallers     = 1000
	maxAllow       = 1000
	maxSubject     = 1024
	leastToken     = 16 // characters
	defaultRate    = 50.0
	maxRate        = 100_000.0
)

// A Caller may read the credentials of some shops.
type Caller struct {
	Name      string   // for the audit trail
	TokenFile string   // the file of its bearer token; or
	Subject   string   // the subject of its certificate, as subjectOf writes it
	Allow     []Shops  // which credentials it may read
	Rate      float64  // requests per second
	limits    *limiter // of its name, retained when the file changes
}

// Shops are the shops that one member of allow names.
type Shops struct {
	account string // "" is every account
	shop    string // "" is every shop of the account
}

// Contain reports whether a shop is one of them.
func (s Shops) Contain(k journal.ShopKey) bool {
	return s.account == "" || s.account == k.Account && (s.shop == "" || s.shop == k.Shop)
}

func (c *Caller) mayRead(k journal.ShopKey) bool {
	for _, s := range c.Allow {
		if s.Contain(k) {
			return true
		}
	}
	return false
}

// ParseShops reads a member of allow: invoicebox/* for all, invoicebox/ACCOUNT/* or
// invoicebox/ACCOUNT/SHOP, with account and shop spelled as in references.
func ParseShops(text string) (Shops, error) {
	wrong := errors.New("must be invoicebox/*, invoicebox/ACCOUNT/* or invoicebox/ACCOUNT/SHOP, with account and shop as they stand in references")
	if text == "invoicebox/*" {
		return Shops{}, nil
	}
	prefix := "ref+" + schemas.StoreSealed + "://" + schemas.SealedMount + "/"
	one, all := strings.CutSuffix(text, "/*")
	if all {
		one += "/x"
	}
	if strings.ContainsAny(one, "?#") {
		return Shops{}, wrong
	}
	ref, err := schemas.ParseReference(prefix + one)
	if err != nil {
		return Shops{}, wrong
	}
	if all {
		return Shops{account: ref.Account}, nil
	}
	return Shops{account: ref.Account, shop: ref.Shop}, nil
}

// callersDocument is the callers file.
type callersDocument struct {
	Callers []struct {
		Name      string   `yaml:"name"`
		TokenFile string   `yaml:"token-file"`
		Subject   string   `yaml:"subject"`
		Allow     []string `yaml:"allow"`
		Rate      *float64 `yaml:"requests-per-second"`
	} `yaml:"callers"`
}

// distinguishedName matches the subjects that [subjectOf] can return. A subject in another
// spelling would never be found.
var distinguishedName = regexp.MustCompile(`^` + attribute + `(?:[,+]` + attribute + `)*$`)

const attribute = `(?:(?:CN|O|OU|C|ST|L|STREET|POSTALCODE|SERIALNUMBER)=(?:[^\\,+"<>; #]|\\.)(?:[^\\,+"<>;]|\\.)*|[0-9]+(?:\.[0-9]+)+=#[0-9a-f]+)`

var callerName = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)

// ParseCallers parses the callers file. Its errors name the place, and quote no value: an
// operator may have entered a token in place of its file.
func ParseCallers(doc []byte) ([]*Caller, error) {
	var file callersDocument
	decoder := yaml.NewDecoder(bytes.NewReader(doc))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); errors.Is(err, io.EOF) {
		return nil, errors.New("is empty; it must hold callers: and a list")
	} else if err != nil {
		return nil, fmt.Errorf("is not YAML of the form `callers: [{name: …, token-file: …, allow: […]}]`%s", yamlLine(err))
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("must hold one YAML document only")
	}
	if len(file.Callers) == 0 || len(file.Callers) > maxCallers {
		return nil, fmt.Errorf("must hold a list of 1 to %d callers", maxCallers)
	}
	names, subjects, files := map[string]bool{}, map[string]bool{}, map[string]bool{}
	var callers []*Caller
	for i, m := range file.Callers {
		wrong := func(member, right string) error { return fmt.Errorf("callers[%d].%s %s", i, member, right) }
		c := &Caller{Name: m.Name, TokenFile: m.TokenFile, Subject: m.Subject, Rate: defaultRate}
		switch {
		case !callerName.MatchString(m.Name):
			return nil, wrong("name", "must be 1 to 64 of the characters A-Z a-z 0-9 . _ @ -")
		case names[m.Name]:
			return nil, wrong("name", "is that of another caller")
		case (m.TokenFile == "") == (m.Subject == ""):
			return nil, wrong("token-file", "must be set, or subject; not both")
		case m.TokenFile != "" && files[m.TokenFile]:
			return nil, wrong("token-file", "is that of another caller")
		case m.Subject != "" && (subjects[m.Subject] || len(m.Subject) > maxSubject):
			return nil, wrong("subject", fmt.Sprintf("must have at most %d bytes, and be that of one caller", maxSubject))
		case m.Subject != "" && !distinguishedName.MatchString(m.Subject):
			return nil, wrong("subject", "must be spelled as in RFC 2253, such as CN=checkout,O=Shops: no spaces around = and the comma, other attributes than "+
				"CN O OU C ST L STREET POSTALCODE SERIALNUMBER by their number")
		case len(m.Allow) == 0 || len(m.Allow) > maxAllow:
			return nil, wrong("allow", fmt.Sprintf("must be a list of 1 to %d paths", maxAllow))
		}
		for k, text := range m.Allow {
			shops, err := ParseShops(text)
			if err != nil {
				return nil, wrong(fmt.Sprintf("allow[%d]", k), err.Error())
			}
			c.Allow = append(c.Allow, shops)
		}
		if m.Rate != nil {
			c.Rate = *m.Rate
		}
		if !(c.Rate > 0 && c.Rate <= maxRate) { // also NaN
			return nil, wrong("requests-per-second", fmt.Sprintf("must be above 0 and at most %.0f", maxRate))
		}
		names[c.Name], subjects[c.Subject], files[c.TokenFile] = true, true, true
		callers = append(callers, c)
	}
	return callers, nil
}

// yamlLine returns the place of a syntax error without the parser's text, which may quote
// the file.
func yamlLine(err error) string {
	var line int
	text := err.Error()
	if at := strings.Index(text, "line "); at >= 0 {
		if _, scanErr := fmt.Sscanf(text[at:], "line %d", &line); scanErr == nil {
			return fmt.Sprintf(" near line %d", line)
		}
	}
	return ""
}

// Callers are the callers of a file. They are read again when the file or a token's file
// changes. If a changed file is invalid, the earlier callers remain in use.
type Callers struct {
	file *secretfile.Watched[*generation]
	key  [sha256.Size]byte // of the digests by which tokens are compared
	now  atomic.Pointer[digests]

	mu     sync.Mutex // held by Look
	limits map[string]*limiter
}

// A generation is the result of reading the callers file once.
type generation struct {
	callers []*Caller
	tokens  []*secretfile.File // of each caller; nil for one with a certificate
}

// digests are the callers in the form with which requests are compared.
type digests struct {
	callers []*Caller
	sums    [][]byte // of each caller's token; nil for one with a certificate
}

const setting = "credentials-callers-file"

// OpenCallers reads the callers file and the files of tokens that it names. A caller may
// have a subject only if certificates of callers are verified. It logs changes to logger;
// nil logs nothing.
func OpenCallers(path string, certificates bool, logger *slog.Logger) (*Callers, error) {
	c := &Callers{limits: map[string]*limiter{}}
	_, _ = rand.Read(c.key[:]) // never fails
	file, err := secretfile.Watch(setting, secretfile.AtOnce, logger, func() (*generation, error) { return readCallers(path, certificates, logger) }, path)
	if err != nil {
		return nil, err
	}
	c.file = file
	if err := c.Look(); err != nil {
		return nil, err
	}
	return c, nil
}

func readCallers(path string, certificates bool, logger *slog.Logger) (*generation, error) {
	doc, err := secretfile.ReadPublic(path, maxCallersFile)
	if err != nil {
		return nil, err
	}
	g := &generation{}
	if g.callers, err = ParseCallers(doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, c := range g.callers {
		if c.Subject != "" && !certificates {
			return nil, fmt.Errorf("%s: callers[%d].subject needs --credentials-client-ca-file: the authorities of callers' certificates", path, i)
		}
		var token *secretfile.File
		if c.TokenFile != "" {
			if token, err = secretfile.Open(fmt.Sprintf("%s: callers[%d].token-file", setting, i), c.TokenFile, callerToken, logger); err != nil {
				return nil, fmt.Errorf("%s: callers[%d].token-file: %w", path, i, err)
			}
		}
		g.tokens = append(g.tokens, token)
	}
	if a, b := sameToken(g); a != "" {
		return nil, fmt.Errorf("%s: callers %s and %s have the same token", path, a, b)
	}
	return g, nil
}

func callerToken(text string) error {
	if err := secretfile.Token(text); err != nil {
		return fmt.Errorf("%w", err)
	}
	if len(text) < leastToken {
		return fmt.Errorf("is shorter than %d characters", leastToken)
	}
	return nil
}

// sameToken returns the names of two callers that could not be distinguished.
func sameToken(g *generation) (a, b string) {
	of := map[string]string{}
	for i, t := range g.tokens {
		if t == nil {
			continue
		}
		text := t.Last().Reveal()
		if other, ok := of[text]; ok {
			return other, g.callers[i].Name
		}
		of[text] = g.callers[i].Name
	}
	return "", ""
}

// Setting returns the name of the setting with the file.
func (*Callers) Setting() string { return setting }

// Look reads changed files. It returns the present fault of the files, nil if there is
// none.
func (c *Callers) Look() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.file.Look()
	g := c.file.Last()
	for i, t := range g.tokens {
		if t == nil {
			continue
		}
		if wrong := t.Look(); wrong != nil && err == nil {
			err = fmt.Errorf("token-file of caller %s: %w", g.callers[i].Name, wrong)
		}
	}
	if a, b := sameToken(g); a != "" {
		// The earlier callers stay in use until the tokens differ.
		return fmt.Errorf("callers %s and %s have the same token", a, b)
	}
	next := &digests{callers: g.callers}
	limits := map[string]*limiter{}
	for i, t := range g.tokens {
		var sum []byte
		if t != nil {
			sum = c.sum(t.Last().Reveal())
		}
		next.sums = append(next.sums, sum)
		one := g.callers[i]
		limits[one.Name] = c.limits[one.Name]
		if limits[one.Name] == nil {
			limits[one.Name] = newLimiter(time.Now())
		}
	}
	// Callers that running requests use are not changed.
	copies := make([]*Caller, len(next.callers))
	for i, one := range next.callers {
		with := *one
		with.limits = limits[one.Name]
		copies[i] = &with
	}
	next.callers, c.limits = copies, limits
	c.now.Store(next)
	return err
}

func (c *Callers) sum(token string) []byte {
	h := hmac.New(sha256.New, c.key[:])
	_, _ = h.Write([]byte(token))
	return h.Sum(nil)
}

// byToken finds the caller with a bearer token, nil if there is none. It compares keyed
// digests, under a key that only this process has, with the digests of all tokens. Its
// time does not depend on the tokens.
func (c *Callers) byToken(token string) *Caller {
	sum := c.sum(token)
	var found *Caller
	all := c.now.Load()
	for i, other := range all.sums {
		if other != nil && hmac.Equal(sum, other) {
			found = all.callers[i]
		}
	}
	return found
}

// bySubject finds the caller with a certificate's subject, nil if there is none.
func (c *Callers) bySubject(subject string) *Caller {
	for _, one := range c.now.Load().callers {
		if one.Subject != "" && one.Subject == subject {
			return one
		}
	}
	return nil
}
