package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/invoicebox/sandbox"
)

// client has a transport of its own, so that no connection outlives a test.
func client() *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
}

// A program is one run of the command.
type program struct {
	t          testing.TB
	api, admin string
	greeting   string
	stop       context.CancelFunc
	status     chan int
	stderr     strings.Builder // to be read after the end
}

// start runs the command on free ports and waits until it has greeted.
func start(t testing.TB, environ []string, args ...string) *program {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	p := &program{t: t, stop: stop, status: make(chan int, 1)}
	args = append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"}, args...)
	go func() {
		p.status <- run(ctx, args, environ, in, &p.stderr)
		_ = in.Close()
	}()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.greeting += lines.Text() + "\n"
		if strings.Contains(lines.Text(), "see --help") {
			break
		}
	}
	address := regexp.MustCompile(`(?m)^  (API|admin) +(https?://[0-9.:]+)`).FindAllStringSubmatch(p.greeting, -1)
	if len(address) != 2 {
		t.Fatalf("status %d, stdout %q, stderr %q", <-p.status, p.greeting, p.stderr.String())
	}
	p.api, p.admin = address[0][2], address[1][2]
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *program) end() int {
	p.stop()
	select {
	case status := <-p.status:
		return status
	case <-time.After(20 * time.Second):
		p.t.Fatal("the program does not end")
		return -1
	}
}

func (p *program) activate(code, token string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodPost, p.api+sandbox.ActivatePath, strings.NewReader(`{"partnerId":"`+sandbox.DefaultPartnerID+`","activationCode":"`+code+`"}`))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	return p.call(req)
}

func (p *program) call(req *http.Request) (int, string) {
	p.t.Helper()
	resp, err := client().Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func TestRunServesUntilItIsToldToEnd(t *testing.T) {
	p := start(t, nil, "--profile=calm", "--seed=42")
	if !strings.HasPrefix(p.greeting, "invoicebox-sandbox misbehaves on purpose and is no product.") {
		t.Errorf("it does not say first what it is: %s", p.greeting)
	}
	for _, want := range []string{"42", "export INVOICEBOX_WORKER_INVOICEBOX_URL=" + p.api, "export INVOICEBOX_WORKER_PARTNER_ID=" + sandbox.DefaultPartnerID, "export INVOICEBOX_WORKER_TOKEN_FILE=", sandbox.DefaultToken} {
		if !strings.Contains(p.greeting, want) {
			t.Errorf("the greeting lacks %q:\n%s", want, p.greeting)
		}
	}
	if status, body := p.activate("c", sandbox.DefaultToken); status != 200 {
		t.Errorf("%d %s", status, body)
	}
	req, _ := http.NewRequest(http.MethodGet, p.admin+"/effects", nil)
	if status, body := p.call(req); status != 200 || !strings.Contains(body, `"code":"c","requests":1,"effects":1`) {
		t.Errorf("%d %s", status, body)
	}
	if status := p.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestTheEndDoesNotWaitForSlowAnswers(t *testing.T) {
	p := start(t, nil, "--profile=calm")
	req, _ := http.NewRequest(http.MethodPost, p.admin+"/answers", strings.NewReader(`{"delay":"50m"}`))
	req.Header.Set("Content-Type", "application/json")
	if status, body := p.call(req); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	gone := make(chan error)
	go func() {
		req, _ := http.NewRequest(http.MethodPost, p.api+sandbox.ActivatePath, strings.NewReader(`{"partnerId":"`+sandbox.DefaultPartnerID+`","activationCode":"c"}`))
		req.Header.Set("Authorization", "Bearer "+sandbox.DefaultToken)
		req.Header.Set("Content-Type", "application/json")
		_, err := client().Do(req)
		gone <- err
	}()
	// The request is under way once its effect can be seen.
	for {
		req, _ := http.NewRequest(http.MethodGet, p.admin+"/effects", nil)
		if _, body := p.call(req); strings.Contains(body, `"effects":1`) {
			break
		}
	}
	begun := time.Now()
	if status := p.end(); status != 0 || time.Since(begun) > 10*time.Second {
		t.Errorf("exit status %d after %v", status, time.Since(begun))
	}
	if err := <-gone; err == nil {
		t.Error("there is an answer")
	}
}

func TestSettingsComeFromFlagsEnvironmentAndFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sandbox.yaml")
	if err := os.WriteFile(file, []byte("seed: 1\nprofile: calm\nwindow: 5s\nstrict-user-agent: true\naccount:\n  - "+sandbox.DefaultPartnerID+":file:token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{
		"INVOICEBOX_SANDBOX_CONFIG=" + file, "INVOICEBOX_SANDBOX_SEED=2", "INVOICEBOX_SANDBOX_WINDOW=6s", "INVOICEBOX_SANDBOX_PROFILE=", "INVOICEBOX_SANDBOX_REFUSAL_STATUS=404",
		"SEED=3", "LISTEN=8080", "LATENCY=long", // bare names belong to others
	}
	p := start(t, environ, "--window=7s", "--requests-per-window=-1")
	for _, want := range []string{"profile  calm", "seed     2", "no limit per account", "in 7s", "INVOICEBOX_WORKER_REQUESTS_PER_WINDOW=1000000 INVOICEBOX_WORKER_WINDOW=7s"} {
		if !strings.Contains(p.greeting, want) {
			t.Errorf("the greeting lacks %q:\n%s", want, p.greeting)
		}
	}
	if strings.Contains(p.greeting, "file:token") {
		t.Error("a token that is not the public one is printed")
	}
	if status, body := p.activate("rejected-c", "file:token"); status != 400 || !strings.Contains(body, "User-Agent") {
		t.Errorf("%d %s", status, body)
	}
	if status := p.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

func TestWrongSettings(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, regexp.MustCompile(`\W`).ReplaceAllString(text, "_")+".yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "--config=" + name
	}
	for _, tc := range []struct {
		args   []string
		env    []string
		status int
		says   string
	}{
		{[]string{"--wat"}, nil, 2, "unknown flag --wat"},
		{[]string{"wat"}, nil, 2, "unexpected argument wat"},
		{[]string{"--profile=wild"}, nil, 1, "--profile"},
		{[]string{"--window=soon"}, nil, 1, "--window"},
		{[]string{"--window=-1s"}, nil, 1, `--window "-1s"`},
		{[]string{"--window=0s"}, nil, 1, "--window"},
		{[]string{"--keep=0"}, nil, 1, "--keep"},
		{[]string{"--requests-per-window=0"}, nil, 1, "--requests-per-window"},
		{[]string{"--seed=-1"}, nil, 1, "--seed"},
		{[]string{"--refusal-status=500"}, nil, 1, "--refusal-status"},
		{[]string{file("profile: ${PROFILE}")}, nil, 1, "was not replaced"},
		{[]string{file("account: ['${PARTNER_ID}:token']")}, nil, 1, "was not replaced"},
		{[]string{"--account=only-a-partner"}, nil, 1, "--account, number 1"},
		{[]string{"--account=p:", "--account=q:t-secret"}, nil, 1, "account 1: the token"},
		{[]string{"--account=p:t-secret", "--account=p:u"}, nil, 1, "account 2"},
		{[]string{"--signing-key=nobody:k-secret"}, nil, 1, "--signing-key, number 1"},
		{[]string{"--tls-cert-file=x"}, nil, 1, "--tls-key-file"},
		{[]string{"--tls-cert-file=nowhere", "--tls-key-file=nowhere"}, nil, 1, "--tls-cert-file, --tls-key-file: open nowhere"},
		{[]string{"--listen=127.0.0.1:99999"}, nil, 1, "--listen"},
		{[]string{"--listen=127.0.0.1:0", "--admin-listen=nowhere"}, nil, 1, "--admin-listen"},
		{[]string{"--config=" + filepath.Join(dir, "none")}, nil, 1, "--config"},
		{[]string{file("window: [5s]")}, nil, 1, "--window: must be a time"},
		{[]string{file("account: p:t-secret")}, nil, 1, "--account: must be a list of texts"},
		{[]string{file("account: [{p: t-secret}]")}, nil, 1, "--account: must be"},
		{[]string{file("Window: 5s")}, nil, 1, `unknown setting "Window" (did you mean "window"?)`},
		{[]string{file("window: 5s\nwindow: 6s")}, nil, 1, "set twice"},
		{[]string{file("- a")}, nil, 1, "must contain members"},
		{[]string{file("window: true")}, nil, 1, "--window"},
		{nil, []string{"INVOICEBOX_SANDBOX_LATENCY=long"}, 1, "--latency"},
	} {
		var stdout, stderr strings.Builder
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		status := run(ctx, tc.args, tc.env, &stdout, &stderr)
		cancel()
		if status != tc.status || !strings.Contains(stderr.String(), tc.says) || strings.Contains(stderr.String(), "-secret") || strings.Contains(stdout.String(), "-secret") {
			t.Errorf("%v %v: exit status %d, stderr %q", tc.args, tc.env, status, stderr.String())
		}
	}
}

func TestHelpHasEveryFlagAndTheFaultWords(t *testing.T) {
	var stdout, stderr strings.Builder
	if status := run(t.Context(), []string{"--help"}, nil, &stdout, &stderr); status != 0 || stderr.Len() > 0 {
		t.Fatalf("exit status %d, stderr %q", status, stderr.String())
	}
	for _, want := range []string{"--listen", "--admin-listen", "--account", "--profile", "--seed", "--latency", "--requests-per-window", "--window", "misbehaves on purpose"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %s", want)
		}
	}
	for _, f := range sandbox.Faults() {
		if !strings.Contains(stdout.String(), "\n  "+f.Word+" ") {
			t.Errorf("no %s", f.Word)
		}
	}
}

func TestVariablesOfOthers(t *testing.T) {
	var f flags
	parser, err := kong.New(&f, config.Program{}.Mapper(), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	settings := config.Program{Prefix: config.SandboxPrefix}
	var bare []string
	for _, flag := range parser.Model.Flags {
		if config.IsServiceLink(settings.Variable(flag.Name)) {
			t.Errorf("--%s: Kubernetes sets %s for a Service", flag.Name, settings.Variable(flag.Name))
		}
		bare = append(bare, strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))+"=-wrong-")
	}
	bare = append(bare, "INVOICEBOX_SANDBOX_PORT=tcp://10.0.0.1:8080", "INVOICEBOX_SANDBOX_SERVICE_HOST=10.0.0.1", "INVOICEBOX_SANDBOX_PORT_8080_TCP_ADDR=10.0.0.1")
	p := start(t, bare)
	if status := p.end(); status != 0 || p.stderr.String() != "" {
		t.Errorf("exit status %d, stderr %q", status, p.stderr.String())
	}
	p = start(t, []string{"INVOICEBOX_SANDBOX_LATENCI=1s"})
	if status := p.end(); status != 0 || !strings.Contains(p.stderr.String(), "did you mean INVOICEBOX_SANDBOX_LATENCY?") {
		t.Errorf("exit status %d, stderr %q", status, p.stderr.String())
	}
}
