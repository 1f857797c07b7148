package vals

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	helmfile "github.com/helmfile/vals"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/cleanenv"
	"invoicebox-worker/internal/testutil/freeport"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/scenario"
	"invoicebox-worker/internal/testutil/workertest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

func TestMain(m *testing.M) {
	cleanenv.Use()
	os.Exit(m.Run())
}

// accounts are the stores of secrets, by the account's name.
var accounts = map[string]string{"sealed": schemas.StoreSealed, "openbao": schemas.StoreOpenBao, "vault": schemas.StoreVault}

// shops have names that a reference must escape, or that look as if it did.
var shops = []string{"shop-1", "Shop_1.x", "..", "../sealed/shop-1", "a/b", "a%2Fb", "b32-fyxa", "магазин", "a?version=2#/merchantId", "ref+echo://x"}

const callerToken = "token-of-the-caller-of-curl"

// References resolve by vals, whatever the shop is named.
func TestVals(t *testing.T) {
	bao := baotest.Start(t)
	r := start(t, bao)
	for name, value := range map[string]string{"ADDR": bao.URL(), "CACERT": bao.CAFile(), "TOKEN": bao.Root()} {
		t.Setenv("BAO_"+name, value)
		t.Setenv("VAULT_"+name, value)
	}
	for _, m := range r.cluster.Await(t, r.topics[schemas.TypeActivated], len(shops)*len(accounts)) {
		e, err := schemas.DecodeOutput(scenario.FromKafka(m), schemas.Strict)
		if err != nil {
			t.Fatal(err)
		}
		d := e.Data.(schemas.Activated)
		want := map[string]string{schemas.FieldToken: r.sandbox.TokenOf(codeOf(d.PartnerAccount, d.ShopID)), schemas.FieldMerchantID: d.MerchantID}
		if !strings.HasPrefix(d.Credentials.Ref, "ref+"+accounts[d.PartnerAccount]+"://") {
			t.Errorf("account %s, shop %q: the reference is %s", d.PartnerAccount, d.ShopID, d.Credentials.Ref)
		}
		for field, value := range want {
			for way, text := range r.ways(d.Credentials.Ref, field) {
				got, err := helmfile.Get(text, helmfile.Options{LogOutput: &bytes.Buffer{}})
				if err != nil || got != value {
					t.Errorf("account %s, shop %q, %s by %s: another value, or none: %v", d.PartnerAccount, d.ShopID, field, way, err)
				}
			}
		}
	}
	// A version that does not exist is an error, and no other version's secret.
	ref := schemas.Reference{Store: schemas.StoreOpenBao, Mount: baotest.Mount, Account: "openbao", Shop: shops[0], Version: 2, Field: schemas.FieldToken}
	if got, err := helmfile.Get(ref.String(), helmfile.Options{LogOutput: &bytes.Buffer{}}); err == nil {
		t.Errorf("version 2 resolves to %d bytes", len(got))
	}
}

func codeOf(account, shop string) string {
	return fmt.Sprintf("code-%s-%d", account, slices.Index(shops, shop))
}

// A rig is a worker with all that it needs.
type rig struct {
	cluster  *kafkatest.Cluster
	sandbox  *sandbox.Sandbox
	topics   map[string]string
	dir      string
	program  string // of the worker
	endpoint string // address
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// ways are what vals is given for a field of a reference.
func (r *rig) ways(ref, field string) map[string]string {
	run := func(program string, args ...string) string {
		for i, arg := range args {
			args[i] = url.QueryEscape(arg)
		}
		return "ref+exec://" + program + "?args=" + strings.Join(args, ",")
	}
	if !strings.HasPrefix(ref, "ref+"+schemas.StoreSealed+"://") {
		return map[string]string{"the store": ref + "#/" + field}
	}
	return map[string]string{
		"resolve": run(r.program, "resolve", ref+"#/"+field, "--config", r.path("worker.yaml")),
		"the endpoint": run("curl", "--silent", "--fail", "--header", "@"+r.path("header"), "--get", "--data-urlencode", "ref="+ref,
			"http://"+r.endpoint+"/v1/credentials") + "#/" + field,
	}
}

// start starts a worker and sends it codes of all shops.
func start(t *testing.T, bao *baotest.Server) *rig {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{cluster: kafkatest.Embedded(t), topics: map[string]string{}, dir: t.TempDir(), endpoint: freeport.Address(t)}
	var err error
	r.program, err = workertest.Build(t.Context(), r.dir, "cmd/invoicebox-worker")
	must(err)
	o := sandbox.Options{Profile: sandbox.Calm, RequestsPerWindow: -1, EgressPerWindow: -1}
	for name := range accounts {
		o.Accounts = append(o.Accounts, sandbox.Account{PartnerID: "partner-" + name, Token: "partner-token-" + name})
	}
	r.sandbox, err = sandbox.New(o)
	must(err)
	api := httptest.NewServer(r.sandbox.API())
	t.Cleanup(api.Close)
	for _, name := range slices.Concat(schemas.InputTypes(), schemas.OutputTypes()) {
		r.topics[name] = r.cluster.NewTopic(t, name, 2)
	}

	rules, err := os.ReadFile("../../deploy/openbao/policy.hcl")
	must(err)
	bao.Policy(t, "invoicebox-worker", string(rules))
	listen := freeport.Address(t)
	settings := fmt.Sprintf(`journal-url: "sqlite:%[1]s/journal.db"
keyset-file: %[1]s/keyset.json
kafka-brokers: [%[2]q]
invoicebox-url: %[3]s
vault-address: %[4]s
vault-ca-file: %[5]s
vault-token-file: %[1]s/vault-token
credentials-listen: %[6]q
credentials-callers-file: %[1]s/callers.yaml
start: earliest
egress-requests-per-window: 100000
accounts:
`, r.dir, strings.Join(r.cluster.Brokers(), `","`), api.URL, bao.URL(), bao.CAFile(), r.endpoint)
	for name, store := range accounts {
		settings += fmt.Sprintf("- {name: %[1]s, partner-id: partner-%[1]s, token-file: %[2]s/token-%[1]s, credentials-store: %[3]s, requests-per-window: 100000}\n", name, r.dir, store)
		must(os.WriteFile(r.path("token-"+name), []byte("partner-token-"+name), 0o600))
	}
	settings += "topic:\n"
	for name, topic := range r.topics {
		settings += "- " + name + "=" + topic + "\n"
	}
	for name, text := range map[string]string{
		"worker.yaml": settings, "vault-token": bao.Token(t, "invoicebox-worker", nil), "caller": callerToken, "header": "Authorization: Bearer " + callerToken,
		"callers.yaml": "callers: [{name: curl, token-file: " + r.path("caller") + ", allow: [invoicebox/*]}]",
	} {
		must(os.WriteFile(r.path(name), []byte(text), 0o600))
	}
	if out, err := exec.CommandContext(t.Context(), r.program, "keys", "create", "--keyset-file", r.path("keyset.json")).CombinedOutput(); err != nil {
		t.Fatalf("keys create: %v\n%s", err, out)
	}
	workertest.Start(t, listen, r.program, nil, "--config", r.path("worker.yaml"))

	var messages []kafkago.Message
	for name := range accounts {
		for _, shop := range shops {
			messages = append(messages, scenario.Event(schemas.TypeCodeEntered, name+"/"+shop, shop,
				fmt.Sprintf(`{"shopId":%q,"activationCode":%q,"partnerAccount":%q}`, shop, codeOf(name, shop), name)))
		}
	}
	r.cluster.Produce(t, r.topics[schemas.TypeCodeEntered], messages)
	return r
}
