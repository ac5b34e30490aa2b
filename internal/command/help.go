package command

// The help pages: short, and they end with examples that run.

const appHelp = `{{.Name}} - {{.Usage}}

Usage:
  {{.Name}} COMMAND [flags]

Commands:
{{- range .VisibleCommands}}
  {{printf "%-9s" .Name}} {{.Usage}}{{end}}

Flags:
{{- range .VisibleFlags}}
  {{.}}{{end}}

Each command has a help page of its own: {{.Name}} COMMAND --help

Example:
  {{.Name}} serve                     # start a relay on port 9000
  {{.Name}} join localhost:9000       # in two more terminals: type, and the other one reads it
`

const commandHelp = `{{.HelpName}} - {{.Usage}}

Usage:
  {{.HelpName}}{{if .VisibleCommands}} COMMAND{{end}}{{if .VisibleFlags}} [flags]{{end}}{{if .ArgsUsage}} {{.ArgsUsage}}{{end}}
{{- if .VisibleCommands}}

Commands:
{{- range .VisibleCommands}}
  {{printf "%-9s" .Name}} {{.Usage}}{{end}}{{end}}

Flags:
{{- range .VisibleFlags}}
  {{.}}{{end}}
{{- if .Description}}

{{.Description}}{{end}}
`
