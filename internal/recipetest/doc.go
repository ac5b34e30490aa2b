// Package recipetest follows the recipes in docs with the programs that they are
// about: it takes the configurations and commands from the pages as they are, in
// networks of its own. It has tests only.
package recipetest
