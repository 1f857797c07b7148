package chart

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

const folder = "../../deploy/helm/invoicebox-worker"

// versions of Kubernetes: about the oldest that Chart.yaml permits, one between, and the
// newest whose schemas the package contains.
var versions = []string{"1.29.0", "1.33.0", "1.37.0"}

const accounts = `config:
  kafka-brokers: kafka-0:9093,kafka-1:9093
  kafka-tls: true
  accounts:
    - {name: default, partner-id: "1", token-file: /secrets/default-token}
    - {name: second, partner-id: "2", token-file: /secrets/second-token}
`

// sets are values, and the objects that they make.
var sets = map[string]struct {
	values string
	want   []string
}{
	"SQLite":   {`config: {partner-id: "1"}`, []string{"ConfigMap", "Pod", "Service", "StatefulSet"}},
	"Accounts": {accounts, []string{"ConfigMap", "Pod", "Service", "StatefulSet"}},
	"SQLiteWithAll": {accounts + withAll + `journal: {type: sqlite, sqlite: {storage: 20Gi, storageClassName: fast}}
`, []string{"ConfigMap", "NetworkPolicy", "Pod", "Service", "ServiceMonitor", "StatefulSet"}},
	"PostgreSQL": {`config: {partner-id: "1"}
journal: {type: postgres, postgres: {url: "postgres://invoicebox@postgres:5432/invoicebox?sslmode=verify-full&sslrootcert=/secrets/ca.crt"}}
`, []string{"ConfigMap", "Deployment", "Pod", "PodDisruptionBudget", "Service"}},
	"PostgreSQLWithAll": {accounts + withAll + `journal: {type: postgres, postgres: {url: "postgres://invoicebox@a,b/invoicebox?target_session_attrs=read-write"}}
replicas: 5
`, []string{"ConfigMap", "Deployment", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service", "ServiceMonitor"}},
}

// withAll sets everything that both kinds of journal have.
const withAll = `image: {repository: registry.example/worker, tag: v1.2.3, pullPolicy: Always}
imagePullSecrets: [{name: registry}]
secretName: other
resources: {requests: {cpu: "1"}, limits: {memory: 1Gi}}
goMemoryLimit: 800MiB
terminationGracePeriodSeconds: 90
podAnnotations: {example.com/note: "yes"}
nodeSelector: {disk: fast}
tolerations: [{key: dedicated, operator: Exists, effect: NoSchedule}]
affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {matchLabels: {a: b}}}}]}}
serviceMonitor: {enabled: true, interval: 10s, labels: {release: prometheus}}
networkPolicy: {enabled: true, scrapeFrom: {team: metrics}, kafkaPort: 9093, postgresPort: 6432}
`

// An object is what Kubernetes is given.
type object = map[string]any

// render is what helm install makes of values.
func render(values string) (all []object, err error) {
	chart, err := loader.LoadDir(folder)
	if err != nil {
		return nil, err
	}
	given := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		return nil, err
	}
	top, err := util.ToRenderValues(chart, given, common.ReleaseOptions{Name: "worker", Namespace: "shops", Revision: 1, IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{}.Render(chart, top)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(name) != ".yaml" {
			continue // a template that others include
		}
		documents := yaml.NewDecoder(strings.NewReader(files[name]))
		for {
			var o object
			if err := documents.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, files[name])
			}
			if o != nil {
				all = append(all, o)
			}
		}
	}
	return all, nil
}

// at follows keys into an object.
func at(o any, keys ...string) any {
	for _, k := range keys {
		m, _ := o.(object)
		o = m[k]
	}
	return o
}

func TestChart(t *testing.T) {
	schemas := openSchemas(t)
	for name, c := range sets {
		t.Run(name, func(t *testing.T) {
			all, err := render(c.values)
			if err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, o := range all {
				kind := fmt.Sprint(o["kind"])
				kinds = append(kinds, kind)
				if got := at(o, "metadata", "name"); !strings.HasPrefix(fmt.Sprint(got), "worker") {
					t.Errorf("%s is named %v", kind, got)
				}
				switch kind {
				case "Pod":
					restricted(t, at(o, "spec"))
				case "StatefulSet", "Deployment":
					restricted(t, at(o, "spec", "template", "spec"))
					if got, want := at(o, "spec", "template", "metadata", "labels"), at(o, "spec", "selector", "matchLabels"); fmt.Sprint(got) != fmt.Sprint(want) {
						t.Errorf("%s selects %v, its pods have %v", kind, want, got)
					}
				case "ConfigMap":
					settings(t, fmt.Sprint(at(o, "data", "config.yaml")))
				}
			}
			if slices.Sort(kinds); !slices.Equal(kinds, c.want) {
				t.Errorf("the objects are %v, want %v", kinds, c.want)
			}
			for _, version := range versions {
				for _, o := range all {
					if err := schemas.validate(version, o); err != nil {
						t.Errorf("Kubernetes %s, %s: %v", version, o["kind"], err)
					}
					other := maps.Clone(o)
					other["unknown"] = true
					if schemas.has(o) && schemas.validate(version, other) == nil {
						t.Errorf("Kubernetes %s, %s: an unknown member is accepted", version, o["kind"])
					}
				}
			}
		})
	}
}

// restricted compares a pod with the profile "restricted" of the Pod Security Standards, and
// with a root that cannot be written.
func restricted(t *testing.T, spec any) {
	t.Helper()
	if at(spec, "securityContext", "runAsNonRoot") != true || at(spec, "securityContext", "seccompProfile", "type") != "RuntimeDefault" || at(spec, "automountServiceAccountToken") != false {
		t.Errorf("a pod has the security context %v", at(spec, "securityContext"))
	}
	list, _ := at(spec, "containers").([]any)
	if len(list) != 1 {
		t.Errorf("%d containers", len(list))
	}
	for _, c := range list {
		s := at(c, "securityContext")
		if at(s, "readOnlyRootFilesystem") != true || at(s, "allowPrivilegeEscalation") != false || fmt.Sprint(at(s, "capabilities", "drop")) != "[ALL]" {
			t.Errorf("a container has the security context %v", s)
		}
	}
}

// settings compares the members of the configuration file with docs/configuration.md.
func settings(t *testing.T, text string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &members); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, needed := range []string{"kafka-brokers", "journal-url", "keyset-file", "listen", "log-format"} {
		if members[needed] == nil {
			t.Errorf("the configuration has no %s:\n%s", needed, text)
		}
	}
	for name := range members {
		if name != "accounts" && !regexp.MustCompile("`--"+name+"[ `]").Match(page) {
			t.Errorf("the configuration has %s, which is no setting", name)
		}
	}
}

// The values that must not be found in what the chart makes. Secrets are in an object that the
// chart only names, so nothing takes such a value.
const (
	markPassword = "mArk-passw0rd"
	markToken    = "mArk:partner/t0ken+abc="
)

// Values that are wrong, and those that would put a secret into the objects, are refused.
func TestChart_RefusedValues(t *testing.T) {
	postgres := func(url string) string {
		return fmt.Sprintf("config: {partner-id: x}\njournal: {type: postgres, postgres: {url: %q}}", url)
	}
	for name, c := range map[string]struct{ values, want string }{
		"NoAccount":          {``, "set config.partner-id, or config.accounts"},
		"Unknown":            {"config: {partner-id: x}\nreplica: 2", "replica"},
		"WrongType":          {"config: {partner-id: x}\nreplicas: many", "replicas"},
		"NoDatabase":         {postgres(""), "url"},
		"SetByTheChart":      {"config: {partner-id: x, listen: 0.0.0.0:1}", "config"},
		"Password":           {postgres("postgres://invoicebox:" + markPassword + "@db/x"), "the Secret's member pgpass"},
		"PasswordInTheQuery": {postgres("postgres://invoicebox@db/x?sslmode=verify-full&password=" + markPassword), "the Secret's member pgpass"},
		"PasswordOfAKey":     {postgres("postgres://invoicebox@db/x?sslpassword=" + markPassword), "the Secret's member pgpass"},
		"Token":              {fmt.Sprintf("config: {partner-id: x}\ntoken: %q", markToken), "token"},
		"TokenInTheSettings": {fmt.Sprintf("config: {partner-id: x, token: %q}", markToken), "token"},
		"TokenOfAnAccount":   {fmt.Sprintf("config: {accounts: [{name: a, partner-id: x, token: %q}]}", markToken), "token"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := render(c.values)
			if err == nil {
				t.Fatalf("accepted: %v", all)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error does not contain %q: %v", c.want, err)
			}
			if strings.Contains(err.Error(), markPassword) || strings.Contains(err.Error(), markToken) {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

// schemas are those of Kubernetes.
type schemas struct {
	files     *zip.ReadCloser                 // nil: nothing is validated
	compilers map[string]*jsonschema.Compiler // by version
}

func openSchemas(t *testing.T) *schemas {
	t.Helper()
	file := os.Getenv("INVOICEBOX_TEST_KUBERNETES")
	if file == "" {
		if strings.Contains(os.Getenv("INVOICEBOX_TEST_REQUIRE"), "kubernetes") {
			t.Fatal("the schemas of Kubernetes are required, and INVOICEBOX_TEST_KUBERNETES names no file")
		}
		t.Log("INVOICEBOX_TEST_KUBERNETES names no file: the objects are not compared with the schemas of Kubernetes")
		return &schemas{}
	}
	files, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	return &schemas{files: files, compilers: map[string]*jsonschema.Compiler{}}
}

// schemasAt is the address of the schemas: by it they name each other.
const schemasAt = "https://kubernetes.io/api/"

// A folderLoader loads the schemas of one version, which permit no unknown member.
type folderLoader struct {
	files   *zip.ReadCloser
	version string
}

// Load implements jsonschema.URLLoader.
func (l folderLoader) Load(url string) (any, error) {
	f, err := l.files.Open("kubernetes_validate/kubernetes-json-schema/v" + l.version + "-local-strict/" + strings.TrimPrefix(url, schemasAt))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return jsonschema.UnmarshalJSON(f)
}

// has reports whether there is a schema of an object. Kubernetes itself has none of a
// ServiceMonitor.
func (s *schemas) has(o object) bool { return s.files != nil && o["kind"] != "ServiceMonitor" }

// validate compares an object with its schema, if there is one.
func (s *schemas) validate(version string, o object) error {
	if !s.has(o) {
		return nil
	}
	group, number, found := strings.Cut(fmt.Sprint(o["apiVersion"]), "/")
	if found {
		first, _, _ := strings.Cut(group, ".")
		group = first + "-" + number
	}
	url := fmt.Sprintf("%s%s-%s.json", schemasAt, strings.ToLower(fmt.Sprint(o["kind"])), group)
	c := s.compilers[version]
	if c == nil {
		c = jsonschema.NewCompiler()
		c.UseLoader(folderLoader{s.files, version})
		s.compilers[version] = c
	}
	schema, err := c.Compile(url)
	if err != nil {
		return err
	}
	return schema.Validate(o)
}
