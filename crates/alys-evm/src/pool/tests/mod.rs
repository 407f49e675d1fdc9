mod entry;
mod fake;
mod life;
