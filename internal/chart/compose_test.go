package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const composeFolder = "../../deploy/compose"

// The compose files match the schema of Compose. A service that others await as healthy has a
// health check. A published port is one on which a program listens. The programs accept their
// commands, settings and secrets. No container is started.
func TestCompose(t *testing.T) {
	programs := build(t)
	secrets := prepare(t, programs)
	for _, file := range []string{"compose.yaml", "replicas.yaml", "full.yaml"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			p := project(t, file)
			for name, s := range p.Services {
				for other, d := range s.DependsOn {
					if d.Condition == types.ServiceConditionHealthy && p.Services[other].HealthCheck == nil {
						t.Errorf("%s waits until %s is healthy, which has no health check", name, other)
					}
				}
				for _, port := range s.Ports {
					if where := listening(p, name); !slices.Contains(where, port.Target) {
						t.Errorf("%s publishes port %d; its network listens on %v", name, port.Target, where)
					}
				}
				runs(t, programs, secrets, s)
			}
		})
	}
}

// The versions of the servers are those that the tests run.
func TestComposeVersions(t *testing.T) {
	doc, err := os.ReadFile("../../.ci/versions")
	if err != nil {
		t.Fatal(err)
	}
	p := project(t, "full.yaml")
	for name, image := range map[string]string{"KAFKA_VERSION": p.Services["kafka"].Image, "OPENBAO_VERSION": p.Services["openbao"].Image} {
		_, version, _ := strings.Cut(image, ":")
		if !strings.Contains(string(doc), "\n"+name+"="+version+"\n") {
			t.Errorf("%s is not %s of .ci/versions", image, name)
		}
	}
}

func project(t *testing.T, file string) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{filepath.Join(composeFolder, file)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return p
}

// network is the service whose network a service has.
func network(s types.ServiceConfig) string {
	if of, shares := strings.CutPrefix(s.NetworkMode, "service:"); shares {
		return of
	}
	return s.Name
}

// ports of images that are not ours.
var ports = map[string][]uint32{"kafka": {9092, 9094}, "prometheus": {9090}, "grafana": {3000}}

// listening lists the ports that the services in the network of a service listen on, on
// another address than loopback.
func listening(p *types.Project, name string) (list []uint32) {
	list = slices.Clone(ports[name])
	for _, s := range p.Services {
		if network(s) != network(p.Services[name]) {
			continue
		}
		addresses := []string{}
		if a := s.Environment["INVOICEBOX_WORKER_LISTEN"]; a != nil {
			addresses = append(addresses, *a)
		}
		for _, arg := range s.Command {
			if _, a, found := strings.Cut(arg, "listen="); found {
				addresses = append(addresses, a)
			}
		}
		for _, a := range addresses {
			host, port, err := net.SplitHostPort(a)
			n := uint32(0)
			if _, scan := fmt.Sscan(port, &n); err == nil && scan == nil && host == "0.0.0.0" {
				list = append(list, n)
			}
		}
	}
	return list
}

// build builds the programs, and returns where they are.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "./cmd/invoicebox-worker", "./cmd/invoicebox-sandbox")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// prepare runs a copy of prepare.sh and returns the folder with the secrets. A script named
// go runs the built program.
func prepare(t *testing.T, programs string) string {
	t.Helper()
	root := t.TempDir()
	folder := filepath.Join(root, "deploy", "compose")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(composeFolder, "prepare.sh"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil { // #nosec G306 -- a program
			t.Fatal(err)
		}
	}
	write(filepath.Join(folder, "prepare.sh"), string(script))
	write(filepath.Join(root, "go"), "#!/bin/sh\nshift 2\nexec "+filepath.Join(programs, "invoicebox-worker")+" \"$@\"\n")
	for range 2 { // again, it keeps what is there
		cmd := exec.CommandContext(t.Context(), "/bin/sh", filepath.Join(folder, "prepare.sh"))
		cmd.Env = append(os.Environ(), "PATH="+root+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return filepath.Join(folder, "secrets")
}

// runs starts the program of a service, if it is ours: a worker as check, which reads all
// settings and files.
func runs(t *testing.T, programs, secrets string, s types.ServiceConfig) {
	t.Helper()
	if !strings.HasPrefix(s.Image, "invoicebox-") {
		return
	}
	const nobody = "127.0.0.1:1" // nothing listens there
	where := strings.NewReplacer("/run/secrets", secrets, "/var/lib/invoicebox-worker", t.TempDir(), "127.0.0.1:8080", nobody, "127.0.0.1:8200", nobody,
		"kafka:9092", nobody, "postgres:5432", nobody, "0.0.0.0:9464", "127.0.0.1:0", "0.0.0.0:9465", "127.0.0.1:0", "0.0.0.0:9466", "127.0.0.1:0")
	args := make([]string, 0, len(s.Command))
	for _, a := range s.Command {
		args = append(args, where.Replace(a))
	}
	isWorker := slices.Equal(args, []string{"run"})
	if isWorker {
		args = []string{"check", "--output", "json"}
	}
	if !isWorker {
		args = append(args, "--help") // an unknown flag is still an error
	}
	env := []string{"HOME=" + t.TempDir()}
	for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
		env = append(env, name+"="+where.Replace(*s.Environment[name]))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(programs, s.Image), args...) // #nosec G204 -- a program of the repository
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errs
	err := cmd.Run() // check fails: nothing is reached
	if !isWorker {
		if err != nil {
			t.Errorf("%s: %v\n%s", s.Name, err, &errs)
		}
		return
	}
	type check struct{ Check, Result, Detail string }
	var checks []check
	if err := json.Unmarshal(out.Bytes(), &checks); err != nil {
		t.Fatalf("%s: check prints %v\n%s%s", s.Name, err, &out, &errs)
	}
	// It cannot reach anything, so all others fail.
	for _, name := range []string{"settings", "limits", "files"} {
		k := slices.IndexFunc(checks, func(c check) bool { return c.Check == name })
		if k < 0 || checks[k].Result != "ok" {
			t.Errorf("%s: the check of its %s is not ok: %+v", s.Name, name, checks)
			continue
		}
		drain := regexp.MustCompile(`(\d+)s to drain`).FindStringSubmatch(checks[k].Detail)
		if name == "limits" && (drain == nil || s.StopGracePeriod == nil) {
			t.Fatalf("%s: %s, grace period %v", s.Name, checks[k].Detail, s.StopGracePeriod)
		}
		if name == "limits" {
			if seconds, _ := strconv.Atoi(drain[1]); time.Duration(*s.StopGracePeriod) < time.Duration(seconds)*time.Second {
				t.Errorf("%s is killed after %v; it drains for %s s", s.Name, time.Duration(*s.StopGracePeriod), drain[1])
			}
		}
	}
}
