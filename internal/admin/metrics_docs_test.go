package admin

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v4"

	"udprelay/internal/cluster"
	"udprelay/relay"
)

const (
	monitoringPage = "../../docs/monitoring.md"
	monitoringDir  = "../../docs/monitoring/"
	alertRules     = "udprelay-alerts.yaml"
	alertTests     = "udprelay-alerts-test.yaml"
	dashboardFile  = "grafana-dashboard.json"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A row is one of the tables of the page, by the word in its first cell.
func rows(page string, cell *regexp.Regexp) map[string][]string {
	found := make(map[string][]string)
	for _, line := range strings.Split(page, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " |")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if match := cell.FindStringSubmatch(cells[0]); strings.HasPrefix(line, "| ") && match != nil {
			found[match[1]] = cells
		}
	}
	return found
}

func families(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	list, err := newMetrics(told(busy()), meteredPeers(1)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]*dto.MetricFamily)
	for _, family := range list {
		named[family.GetName()] = family
	}
	return named
}

var metricName = regexp.MustCompile(`\b(?:udprelay|go|process)_[a-z0-9_]+`)

func TestThePageHasEachMetric(t *testing.T) {
	page := read(t, monitoringPage)
	documented := rows(page, regexp.MustCompile("^`(udprelay_[a-z_]+)`$"))
	known := families(t)
	for name, family := range known {
		if !strings.HasPrefix(name, "udprelay_") {
			continue
		}
		cells, there := documented[name]
		if !there || len(cells) != 4 || cells[3] == "" {
			t.Errorf("want a row for %s with type, labels and meaning, got %q", name, cells)
			continue
		}
		labels := make(map[string]bool)
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels[label.GetName()] = true
		}
		told := make(map[string]bool)
		for _, label := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(cells[2], -1) {
			told[label[1]] = true
		}
		if diff := cmp.Diff(labels, told); diff != "" || cells[1] != strings.ToLower(family.GetType().String()) {
			t.Errorf("%s is a %s, not a %s; labels (-are +told):\n%s", name, family.GetType(), cells[1], diff)
		}
	}
	for _, name := range regexp.MustCompile(`udprelay_[a-z_]+`).FindAllString(page, -1) {
		if known[name] == nil {
			t.Errorf("the page names %s, which there is not", name)
		}
	}
}

func TestThePageHasEachReason(t *testing.T) {
	_, section, _ := strings.Cut(read(t, monitoringPage), "### Reasons\n")
	section, _, _ = strings.Cut(section, "\n### ")
	in, out, _ := strings.Cut(section, "On the way out, ")
	reason := regexp.MustCompile("^`([a-z_]+)`$")
	told := map[bool]map[string][]string{false: rows(in, reason), true: rows(out, reason)}
	for _, d := range relay.Drops() {
		if told[d.OnTheWayOut()][d.String()] == nil {
			t.Errorf("want a row for %s; on the way out: %v", d, d.OnTheWayOut())
		}
	}
	if got, want := len(told[false])+len(told[true]), len(relay.Drops()); got != want {
		t.Errorf("want %d reasons, got %d", want, got)
	}
}

func TestThePageHasEachReasonOfTheCluster(t *testing.T) {
	_, section, _ := strings.Cut(read(t, monitoringPage), "### Reasons of the cluster\n")
	section, _, _ = strings.Cut(section, "\n### ")
	told := rows(section, regexp.MustCompile("^`([a-z_]+)`$"))
	for _, d := range cluster.Drops() {
		if cells := told[d.String()]; len(cells) != 3 || cells[1] == "" || cells[2] == "" {
			t.Errorf("want a row for %s with what is counted and what it means, got %q", d, cells)
		}
	}
	if len(told) != len(cluster.Drops()) {
		t.Errorf("want %d reasons, got %d", len(cluster.Drops()), len(told))
	}
}

// documentedSums returns the two queries of the page that are 0 when nothing is
// under way: of the way in, and of the way out.
func documentedSums(t *testing.T) []string {
	t.Helper()
	_, section, _ := strings.Cut(read(t, monitoringPage), "Two sums hold")
	found := regexp.MustCompile("(?s)```text\n(udprelay_received.*)\n(udprelay_due.*)\n```").FindStringSubmatch(section)
	if found == nil {
		t.Fatal("want two queries")
	}
	return found[1:]
}

// The sums are those that a relay keeps to, see relay.Stats.
func TestThePageHasTheSums(t *testing.T) {
	known := families(t)
	for i, query := range documentedSums(t) {
		wantKnown(t, known, "a sum", query)
		for _, reason := range relay.Drops() {
			want := reason != relay.DropReceiveQueueFull && reason.OnTheWayOut() == (i == 1)
			if has := regexp.MustCompile(`["|]` + reason.String() + `["|]`).MatchString(query); has != want {
				t.Errorf("sum %d has %s: want %v, got %v", i, reason, want, has)
			}
		}
	}
}

// An alert is a rule of the shipped file.
type alert struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, monitoringDir+alertRules)), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) == 0 {
		t.Fatalf("want one group of rules, got %v", file)
	}
	return file.Groups[0].Rules
}

func TestAlertsSayWhatToDo(t *testing.T) {
	told := rows(read(t, monitoringPage), regexp.MustCompile("^`(Udprelay[A-Za-z]+)`$"))
	known := families(t)
	command := regexp.MustCompile(`"(udprelay|systemctl|journalctl|promtool) `)
	for _, a := range alerts(t) {
		if !strings.HasPrefix(a.Annotations["summary"], "udprelay on {{ $labels.instance }} ") && a.Alert != "UdprelayMissing" && a.Alert != "UdprelayStorm" {
			t.Errorf("%s: want a summary that says which relay, got %q", a.Alert, a.Annotations["summary"])
		}
		if !command.MatchString(a.Annotations["description"]) {
			t.Errorf("%s: want a description with a command that tells more, got %q", a.Alert, a.Annotations["description"])
		}
		if severity := a.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, severity) || len(told[a.Alert]) != 4 || told[a.Alert][1] != severity {
			t.Errorf("%s: want a severity, and a row of the page with it, got %q, %q", a.Alert, severity, told[a.Alert])
		}
		for _, option := range regexp.MustCompile(`--(sort|state) ([a-z_-]+)`).FindAllStringSubmatch(a.Annotations["description"], -1) {
			if _, err := ParseQuery(url.Values{option[1]: {option[2]}}); err != nil {
				t.Errorf("%s: want a command that works: %v", a.Alert, err)
			}
		}
		wantKnown(t, known, a.Alert, a.Expr)
		delete(told, a.Alert)
	}
	for name := range told {
		t.Errorf("the page has the alert %s, which there is not", name)
	}
}

// wantKnown looks for metrics and reasons in a query that there are not, and
// returns the metrics.
func wantKnown(t *testing.T, known map[string]*dto.MetricFamily, of, query string) []string {
	t.Helper()
	names := metricName.FindAllString(query, -1)
	if !strings.Contains(query, "up{") && len(names) == 0 {
		t.Errorf("%s asks for no metric", of)
	}
	for _, name := range names {
		// Which there are of the system depends on the system.
		if known[name] == nil && (runtime.GOOS == "linux" || !strings.HasPrefix(name, "process_")) {
			t.Errorf("%s asks for %s, which there is not", of, name)
		}
	}
	for _, match := range regexp.MustCompile(`(udprelay_[a-z_]+)\{[^}]*reason=~?"([^"]*)"`).FindAllStringSubmatch(query, -1) {
		for _, reason := range strings.Split(match[2], "|") {
			if !slices.Contains(reasonsOf(match[1]), reason) {
				t.Errorf("%s asks for the reason %s of %s, which there is not", of, reason, match[1])
			}
		}
	}
	return names
}

// reasonsOf returns the reasons that a metric can have.
func reasonsOf(metric string) (reasons []string) {
	if metric == "udprelay_cluster_dropped_total" {
		for _, d := range cluster.Drops() {
			reasons = append(reasons, d.String())
		}
		return reasons
	}
	for _, d := range relay.Drops() {
		reasons = append(reasons, d.String())
	}
	return reasons
}

// The tests, which promtool runs, say of each alert when it fires and when not.
func TestEachAlertIsTested(t *testing.T) {
	var file struct {
		Tests []struct {
			Cases []struct {
				Name string           `yaml:"alertname"`
				Want []map[string]any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, monitoringDir+alertTests)), &file); err != nil {
		t.Fatal(err)
	}
	fires, silent := make(map[string]bool), make(map[string]bool)
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			fires[c.Name] = fires[c.Name] || len(c.Want) > 0
			silent[c.Name] = silent[c.Name] || len(c.Want) == 0
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !silent[a.Alert] {
			t.Errorf("%s: tested that it fires: %v; that it does not: %v", a.Alert, fires[a.Alert], silent[a.Alert])
		}
		delete(fires, a.Alert)
	}
	if len(fires) > 0 {
		t.Errorf("tests of alerts that there are not: %v", slices.Collect(maps.Keys(fires)))
	}
}

// A grafana is what matters of a dashboard.
type grafana struct {
	Title         string
	UID           string
	SchemaVersion int
	Annotations   struct{ List []struct{ Name, Expr string } }
	Templating    struct {
		List []struct {
			Name, Type string
			Query      any
			Multi      bool
		}
	}
	Panels []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		Datasource               struct{ Type, UID string }
		FieldConfig              struct{ Defaults struct{ Unit string } }
		Targets                  []struct {
			RefID, Expr, LegendFormat string
			Datasource                struct{ Type, UID string }
		}
	}
}

func dashboardJSON(t *testing.T) grafana {
	t.Helper()
	var d grafana
	if err := json.Unmarshal([]byte(read(t, monitoringDir+dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// queries returns what the dashboard asks Prometheus for, by where.
func (d grafana) queries() map[string]string {
	asked := make(map[string]string)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			asked[p.Title+" "+target.RefID] = target.Expr
		}
	}
	for _, a := range d.Annotations.List {
		if a.Expr != "" {
			asked["annotation "+a.Name] = a.Expr
		}
	}
	return asked
}

func TestDashboardIsWhole(t *testing.T) {
	d := dashboardJSON(t)
	if d.Title != "udprelay" || d.UID != "udprelay" || d.SchemaVersion < 39 {
		t.Errorf("want a dashboard of Grafana 11, got %s %s %d", d.Title, d.UID, d.SchemaVersion)
	}
	ids, taken := make(map[int]bool), make(map[[2]int]string)
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %q: want a title and an id that no other has, got %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W == 0 || p.GridPos.H == 0 {
			t.Errorf("panel %q is beside the grid: %v", p.Title, p.GridPos)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" {
					t.Fatalf("panels %q and %q overlap", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("panel %q: want a description, a unit, the data source of the variable and something to show", p.Title)
		}
		for _, target := range p.Targets {
			if !strings.Contains(target.Expr, `{instance=~"$instance"`) || target.LegendFormat == "" || target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q %s: want the chosen instances, a legend and the data source of the variable", p.Title, target.RefID)
			}
		}
	}
	variables := make(map[string]string)
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	if diff := cmp.Diff(map[string]string{"datasource": "datasource", "instance": "query"}, variables); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
}

func TestDashboardShowsEachMetric(t *testing.T) {
	known, shown := families(t), make(map[string]bool)
	d := dashboardJSON(t)
	for where, query := range d.queries() {
		for _, name := range wantKnown(t, known, where, query) {
			shown[name] = true
		}
	}
	for name := range known {
		if strings.HasPrefix(name, "udprelay_") && !shown[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
	for _, v := range d.Templating.List {
		if query, ok := v.Query.(map[string]any); ok && known[metricName.FindString(query["query"].(string))] == nil {
			t.Errorf("the variable %s asks for what there is not: %v", v.Name, query)
		}
	}
	for title, out := range map[string]bool{"Drops on the way in A": false, "Drops on the way out A": true} {
		for _, reason := range relay.Drops() {
			if has := regexp.MustCompile(`["|]` + reason.String() + `["|]`).MatchString(d.queries()[title]); has != (reason.OnTheWayOut() == out) {
				t.Errorf("%s has %s: %v", title, reason, has)
			}
		}
	}
}
